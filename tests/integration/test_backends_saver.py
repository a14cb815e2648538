"""The contract of the savers, stores and caches behind a lease: upstream's suite, the fence, the codec, progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Interrupt
from redis import Redis

from holdfast.errors import ConfigurationError, LeaseLostError, OutageError, TypeNotAllowedError
from holdfast.persistence.backends import (
    GuardedSaver,
    close_backends,
    open_cache,
    open_saver,
    open_store,
    shown,
)
from holdfast.persistence.backends.lease import Lease
from holdfast.persistence.backends.opening import Opened
from holdfast.persistence.backends.sealed import SealedSaver
from holdfast.persistence.codec import codec
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import new_token
from holdfast.persistence.models import Entry, RunRow, Thread
from tests.acceptance.brokers import RedisBroker
from tests.integration.backend_servers import ELSEWHERE, address, on
from tests.integration.claims import a_checkpoint, claim, config_for
from tests.integration.encrypting import encryption

__all__ = ["address"]

pytestmark = pytest.mark.django_db(transaction=True)


def put(saver: GuardedSaver, thread_id: str, **values: Any) -> dict[str, Any]:
    checkpoint, versions = a_checkpoint(saver, **values)
    return dict(saver.put(config_for(thread_id), checkpoint, {"source": "loop"}, versions))


def taken_over(fence: Fence) -> None:
    RunRow.objects.filter(id=fence.run_id).update(token=new_token())


@on(*ELSEWHERE)
def test_upstreams_conformance_suite_passes(address: str) -> None:
    @checkpointer_test(name=address)
    async def factory() -> AsyncGenerator[GuardedSaver, None]:
        yield open_saver(address)

    report = asyncio.run(validate(factory))
    failures = {name: result.failures for name, result in report.results.items() if result.failures}
    assert not failures
    assert report.passed_all_base()


@on(*ELSEWHERE)
def test_p2_an_attempt_that_was_taken_over_writes_nothing_more(address: str) -> None:
    fence = claim()
    saver, store = open_saver(address, fence=fence), open_store(_store_address(address), fence=fence)
    config = put(saver, fence.thread_id, items=["a"])
    saver.put_writes(config, [("items", ["b"])], "task")
    store.put(("words",), "k", {"n": 1})
    taken_over(fence)
    for write in (
        lambda: put(saver, fence.thread_id, items=["late"]),
        lambda: saver.put_writes(config, [("items", ["late"])], "late"),
        lambda: store.put(("words",), "k", {"n": 2}),
        lambda: store.delete(("words",), "k"),
    ):
        with pytest.raises(LeaseLostError):
            write()
    assert fence.lost
    (found,) = open_saver(address).list(config_for(fence.thread_id))
    assert found.checkpoint["channel_values"] == {"items": ["a"]}
    assert found.pending_writes == [("task", "items", ["b"])]
    item = open_store(_store_address(address)).get(("words",), "k")
    assert item is not None
    assert item.value == {"n": 1}


@on(*ELSEWHERE)
def test_p2_a_process_frozen_between_asking_and_writing_writes_once_and_is_told(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docs/backends.md says is weaker elsewhere, as it is."""
    fence = claim()
    saver = open_saver(address, fence=fence)
    first = put(saver, fence.thread_id, items=["a"])
    late, versions = a_checkpoint(saver, items=["late"])
    check = Lease.check

    def frozen(lease: Lease) -> None:
        check(lease)
        taken_over(fence)

    monkeypatch.setattr(Lease, "check", frozen)
    with pytest.raises(LeaseLostError):
        saver.put({"configurable": first["configurable"]}, late, {}, versions)
    monkeypatch.undo()
    with pytest.raises(LeaseLostError):
        put(saver, fence.thread_id, items=["later"])
    values = [
        each.checkpoint["channel_values"] for each in open_saver(address).list(config_for(fence.thread_id))
    ]
    assert values == [{"items": ["late"]}, {"items": ["a"]}]


@on(*ELSEWHERE)
def test_r12_each_write_moves_the_marker_of_progress_and_a_repeated_question_does_not(address: str) -> None:
    fence = claim()
    saver = open_saver(address, fence=fence)
    assert _progress(fence) is None
    config = put(saver, fence.thread_id, items=["a"])
    assert _progress(fence) == 1
    saver.put_writes(config, [("items", ["b"])], "task")
    assert _progress(fence) == 2
    saver.put_writes(config, [("__interrupt__", [Interrupt(value="?", id="1")])], "asks")
    assert _progress(fence) == 2
    assert Thread.objects.get(id=fence.thread_id).backend == shown(address)
    assert Entry.objects.get(run_id=fence.run_id).checkpoint_id == config["configurable"]["checkpoint_id"]


@on(*ELSEWHERE)
def test_r5_a_checkpoint_tells_its_run_that_it_has_entered(address: str) -> None:
    """The attempt before stored its first checkpoint, and died before it noted that."""
    fence = claim()
    checkpoint, versions = a_checkpoint(open_saver(address), items=["a"])
    place = {**config_for(fence.thread_id)["configurable"], "run_id": str(fence.run_id)}
    open_saver(address).put({"configurable": place}, checkpoint, {"source": "input"}, versions)
    open_saver(address, fence=fence).enter_if_begun()
    assert fence.entered
    assert Entry.objects.get(run_id=fence.run_id).checkpoint_id == checkpoint["id"]


@on(*ELSEWHERE)
def test_p12_what_is_not_on_the_allow_list_is_not_built(address: str) -> None:
    """Written with a type that a graph allows, read by one that does not."""
    thread_id = claim().thread_id
    allowed = open_saver(address, allow=[("tests.integration.backend_graphs", "Point")])
    from tests.integration.backend_graphs import Point

    config = put(allowed, thread_id, point=Point(x=1, y=2))
    found = allowed.get_tuple(config)
    assert found is not None
    assert found.checkpoint["channel_values"]["point"] == Point(x=1, y=2)
    with pytest.raises(TypeNotAllowedError, match="Point"):
        open_saver(address).get_tuple(config)


@on("memory", "sqlite", "redis")
# LangGraph's RedisCache calls what redis-py is about to drop.
@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_p12_a_cached_value_of_a_type_that_is_not_allowed_counts_as_missing(address: str) -> None:
    from tests.integration.backend_graphs import Point

    key = (("ns",), "k")
    hits: list[Any] = []
    known = open_cache(address, allow=[("tests.integration.backend_graphs", "Point")])
    known.set({key: (Point(x=1, y=2), None), (("ns",), "l"): ([1], 60)})
    assert known.get([key]) == {key: Point(x=1, y=2)}
    other = open_cache(address, on_hit=lambda namespace, name: hits.append(name))
    assert other.get([key, (("ns",), "l")]) == {(("ns",), "l"): [1]}
    assert hits == ["l"]
    assert open_cache(address, version="g@2").get([key]) == {}
    known.clear([("ns",)])
    assert known.get([key]) == {}


def test_p12_a_sealed_saver_gives_nothing_to_the_saver_below_that_it_could_build() -> None:
    """As it is used for Redis, whose saver takes no serializer."""
    below = InMemorySaver(serde=JsonPlusSerializer())
    backend = Opened(value=below, sealed=True)
    saver = GuardedSaver(backend, "memory://", serde=codec())
    config = put(saver, "t", items=[1, {"a": (2,)}], text="plain")
    saver.put_writes(config, [("items", {3}), ("__interrupt__", [Interrupt(value="?", id="1")])], "task")
    found = saver.get_tuple(config_for("t"))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"items": [1, {"a": (2,)}], "text": "plain"}
    assert {channel: value for _, channel, value in found.pending_writes or ()} == {
        "items": {3},
        "__interrupt__": [Interrupt(value="?", id="1")],
    }
    stored = below.get_tuple(config_for("t"))
    assert stored is not None
    assert {type(value) for value in stored.checkpoint["channel_values"].values()} == {str}
    assert {type(value) for _, _, value in stored.pending_writes or ()} == {str}
    assert isinstance(saver.with_allowlist([("a", "B")])._inner, SealedSaver)


def test_r3_a_server_that_is_away_is_an_outage_and_no_error_of_the_run(settings: Any) -> None:
    settings.HOLDFAST = {"LEASE": 2.0, "IDLE_IN_TRANSACTION": 1.0}
    with pytest.raises(OutageError, match=r"127\.0\.0\.1:9/nothing"):
        open_saver("postgresql://user:secret@127.0.0.1:9/nothing")


def test_r3_a_write_that_was_given_up_leaves_no_hole_behind_which_others_are_stored(settings: Any) -> None:
    settings.HOLDFAST = {"LEASE": 2.0, "IDLE_IN_TRANSACTION": 1.0}
    below, away = InMemorySaver(), [False]

    class Flaky(InMemorySaver):
        def put_writes(self, *args: Any, **kwargs: Any) -> None:
            if away[0]:
                raise ConnectionError("away")
            below.put_writes(*args, **kwargs)

    fence = claim()
    opened = Opened(value=Flaky(), is_passing=lambda error: isinstance(error, ConnectionError))
    saver = GuardedSaver(opened, "tests:flaky", serde=codec(), fence=fence)
    config = put(saver, fence.thread_id, items=["a"])
    away[0] = True
    with pytest.raises(OutageError, match="away"):
        saver.put_writes(config, [("items", ["b"])], "task")
    away[0] = False
    with pytest.raises(Exception, match="given up"):
        put(saver, fence.thread_id, items=["c"])
    assert fence.broken


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("sqlite://relative.db", "sqlite:///relative.db"),
        ("sqlite:///:memory:", "memory://"),
        ("nowhere", "names no backend"),
        ("nowhere://x", "names no backend"),
        ("tests.nothing:saver", "cannot be imported"),
        ("tests.integration.backend_servers:nothing", "cannot be imported"),
        ("tests.integration.backend_servers:own_store", "not a BaseCheckpointSaver"),
        ("tests.integration.test_backends_saver:half_a_saver", "without put"),
    ],
)
def test_p11_an_address_that_cannot_be_used_is_told_with_what_can(address: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        open_saver(address)


def half_a_saver() -> Any:
    """Has none of the synchronous methods."""
    from langgraph.checkpoint.base import BaseCheckpointSaver

    class Half(BaseCheckpointSaver[str]):
        pass

    return Half()


def test_p11_a_cache_that_langgraph_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no cache there; use django, memory, redis, rediss, sqlite"):
        open_cache("postgresql://127.0.0.1/x")


# LangGraph's RedisCache calls what redis-py is about to drop.
@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_a_redis_without_the_modules_is_told_by_name() -> None:
    """A plain Redis 7 has neither; the cache needs none."""
    broker = RedisBroker()  # for a database that is nobody else's meanwhile
    try:
        with Redis.from_url(broker.url) as client:
            if client.execute_command("COMMAND INFO", "JSON.SET")[0]:
                pytest.skip("this Redis has the modules")
        for opener in (open_saver, open_store):
            with pytest.raises(ConfigurationError, match=r"no RedisJSON and no RediSearch.*Redis 8"):
                opener(broker.url)
        cache = open_cache(broker.url)
        key = (("holdfast-test", str(new_token())), "k")
        cache.set({key: ({"a": (1,)}, 5)})
        assert cache.get([key]) == {key: {"a": (1,)}}
        cache.clear([key[0]])
        assert cache.get([key]) == {}
        close_backends()
    finally:
        broker.close()


def test_an_address_is_shown_without_its_password() -> None:
    assert shown("postgresql://user:secret@host:5433/name?sslmode=require") == "postgresql://host:5433/name"
    assert shown("sqlite:////var/x.db") == "sqlite:////var/x.db"
    assert shown("shop.backends:saver") == "shop.backends:saver"


def test_two_processes_share_one_file(tmp_path: Path) -> None:
    """Each with its own connection, as two children of a worker."""
    address = f"sqlite:///{tmp_path}/shared.db"
    put(open_saver(address), "t", items=[1])
    close_backends()
    put(open_saver(address), "t", items=[2])
    assert len(list(open_saver(address).list(config_for("t")))) == 2
    close_backends()


def _store_address(address: str) -> str:
    return address.replace("own_saver", "own_store")


def _progress(fence: Fence) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT progress FROM holdfast_entry WHERE run_id = %s", [fence.run_id])
        row = cursor.fetchone()
    return row[0] if row else None


@on("postgresql", "sqlite", "redis", "mongodb")
@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_p12_with_a_key_no_word_of_a_value_stands_in_the_clear(
    address: str, settings: Any, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    before = settings.HOLDFAST
    settings.HOLDFAST = {**before, **encryption("a")}
    fence = claim()
    saver = open_saver(address, fence=fence)
    config = put(saver, fence.thread_id, plain="xylophone", nested=[{"xylophone": 1}])
    saver.put_writes(config, [("plain", "xylophone")], "task")
    found = open_saver(address).get_tuple(config)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"plain": "xylophone", "nested": [{"xylophone": 1}]}
    assert found.pending_writes == [("task", "plain", "xylophone")]
    (listed,) = open_saver(address).list(config_for(fence.thread_id), filter={"source": "loop"})
    assert listed.checkpoint["channel_values"] == found.checkpoint["channel_values"]
    assert list(open_saver(address).list(config_for(fence.thread_id), filter={"source": "input"})) == []
    with pytest.raises(ConfigurationError, match="in the clear"):
        open_store(address)
    if address.startswith(("sqlite", "redis")):
        cache = open_cache(address)
        cache.set({(("ns",), "k"): (["xylophone"], None)})
        assert cache.get([(("ns",), "k")]) == {(("ns",), "k"): ["xylophone"]}
    close_backends()
    if address.startswith("sqlite"):
        stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    elif address.startswith("redis"):
        stored = _all_of_redis(address)
    elif address.startswith("mongodb"):
        stored = _all_of_mongodb(address)
    else:
        with psycopg.connect(address) as there:
            rows = [
                there.execute(f"SELECT t::text FROM {table} t").fetchall()
                for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
            ]
        stored = str(rows).encode()
    assert fence.thread_id.encode() in stored
    assert b"xylophone" not in stored
    assert b"xylophone".hex().encode() not in stored


def _all_of_redis(address: str) -> bytes:
    import redis

    client: Any = redis.Redis.from_url(address)
    found = [*client.scan_iter("*")]
    values = [
        client.dump(key) + repr(client.json().get(key) if b"JSON" in client.type(key) else "").encode()
        for key in found
    ]
    client.close()
    return b"".join([*found, *values])


def _all_of_mongodb(address: str) -> bytes:
    import pymongo

    client: Any = pymongo.MongoClient(address)
    database = client.get_default_database()
    found = [document for name in database.list_collection_names() for document in database[name].find()]
    client.close()
    return repr(found).encode()
