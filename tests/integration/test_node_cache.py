"""The shared node cache: TTL, batches, namespaces, and bytes that are never code (P5, P12)."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy

from holdfast import task
from holdfast.errors import NotSerializableError
from holdfast.persistence import DjangoCache
from holdfast.persistence.connections import connect, pool
from holdfast.persistence.models import NodeCacheEntry
from holdfast.persistence.node_cache import asking
from holdfast.persistence.node_cache.keys import digests, slot
from holdfast.persistence.node_cache.tally import tally
from holdfast.persistence.sql import query
from tests.integration.attempts import claim, execute
from tests.integration.encrypting import encryption
from tests.integration.test_effects_keyed import State

pytestmark = pytest.mark.django_db(transaction=True)

A, B = (("ns", "a"), "k"), (("ns",), "k")


@pytest.fixture
def later() -> Any:
    """Moves the database's clock, for every connection of the pool, by seconds."""

    def move(seconds: float) -> None:
        with pool("default").connection() as live:
            live.execute("SELECT set_config('holdfast.clock_offset', %s, false)", [f"{seconds} seconds"])

    return move


def test_values_are_shared_by_instances_and_namespaces_are_kept_apart() -> None:
    DjangoCache[Any]().set({A: ({"x": [1, None]}, None), B: (2, 60), (("c", "d", "e"), "k"): (None, None)})
    assert DjangoCache[Any]().get([A, B, (("ns", "b"), "k"), A]) == {A: {"x": [1, None]}, B: 2}
    assert DjangoCache[Any]().get([(("c", "d", "e"), "k")]) == {(("c", "d", "e"), "k"): None}
    assert DjangoCache[Any]().get([]) == {}


def test_what_has_expired_is_not_returned_nor_deleted_by_a_reader(later: Any) -> None:
    cache = DjangoCache[Any]()
    cache.set({A: (1, 60), B: (2, None)})
    later(59)
    assert cache.get([A, B]) == {A: 1, B: 2}
    later(61)
    assert cache.get([A, B]) == {B: 2}
    assert NodeCacheEntry.objects.count() == 2
    cache.set({A: (3, 60)})
    assert cache.get([A]) == {A: 3}


def test_clear_takes_exactly_the_namespaces() -> None:
    cache = DjangoCache[Any]()
    cache.set({A: (1, None), B: (2, None)})
    cache.clear([])
    cache.clear([("ns",)])
    assert cache.get([A, B]) == {A: 1}
    cache.clear()
    assert cache.get([A]) == {}


def test_the_async_twins_do_the_same_without_a_thread() -> None:
    async def use() -> None:
        cache = DjangoCache[Any]()
        await cache.aset({A: (1, None), B: (2, None)})
        assert await cache.aget([A, B]) == {A: 1, B: 2}
        await cache.aclear([("ns", "a")])
        assert await cache.aget([A, B]) == {B: 2}
        await cache.aclear()
        assert await cache.aget([A, B]) == {}

    before = threading.active_count()
    asyncio.run(use())
    assert threading.active_count() == before


def test_a_batch_is_one_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def named(name: str) -> Any:
        asked.append(name)
        return query(name)

    monkeypatch.setattr(asking, "query", named)
    many = {(("ns", str(i)), "k"): (i, None) for i in range(500)}
    DjangoCache[Any]().set(many)
    with CaptureQueriesContext(connection) as django:
        assert len(DjangoCache[Any]().get(list(many))) == 500
    assert [name for name in asked if name != "cache_count"] == ["cache_set", "cache_get"]
    assert not django.captured_queries


def test_entries_of_another_version_are_not_found_and_cleared_all_the_same() -> None:
    old, new = DjangoCache[Any](version="orders@1"), DjangoCache[Any](version="orders@2")
    old.set({A: (1, None)})
    assert new.get([A]) == {}
    new.set({A: (2, None)})
    assert (old.get([A]), new.get([A]), DjangoCache[Any]().get([A])) == ({A: 1}, {A: 2}, {})
    assert set(NodeCacheEntry.objects.values_list("version", flat=True)) == {"orders@1", "orders@2"}
    new.clear([A[0]])
    assert not NodeCacheEntry.objects.exists()


def test_hits_are_counted_with_what_they_saved_and_reading_waits_for_no_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tally().write("default", pause=0)  # what other tests have left
    cache = DjangoCache[Any]()
    cache.set({A: (1, None), B: (2, None)})
    NodeCacheEntry.objects.update(cost=2.0)
    monkeypatch.setattr(tally(), "_taken", time.monotonic() + 3600)  # nothing is written by the way
    for _ in range(3):
        cache.get([A, B])
    with connect("default") as other, other.transaction():
        other.execute("SELECT FROM holdfast_node_cache WHERE namespace = %s FOR UPDATE", [list(A[0])])
        tally().write("default", pause=0)
        assert cache.get([A]) == {A: 1}
    locked, free = (NodeCacheEntry.objects.get(namespace=list(key[0])) for key in (A, B))
    assert (locked.hits, locked.used_at) == (0, None)
    assert (free.hits, free.misses, free.saved) == (3, 1, 6.0)
    tally().write("default", pause=0)
    locked.refresh_from_db()
    assert (locked.hits, locked.saved) == (4, 8.0)
    cache.set({A: (3, 60)})  # computed anew: what it was good for stays
    locked.refresh_from_db()
    assert (locked.hits, locked.misses, locked.saved) == (4, 2, 8.0)


def test_what_computing_took_is_the_time_since_the_value_was_missed() -> None:
    cache = DjangoCache[Any]()
    cache.set({B: (1, None)})
    cache.get([A, B])
    threading.Event().wait(0.05)
    cache.set({A: (1, None), B: (2, None)})
    assert NodeCacheEntry.objects.get(namespace=list(B[0])).cost is None
    cost = NodeCacheEntry.objects.get(namespace=list(A[0])).cost
    assert cost is not None
    assert 0.05 <= cost < 5


def test_an_entry_in_the_same_slot_is_not_taken_for_another() -> None:
    cache = DjangoCache[Any]()
    cache.set({A: (1, None)})
    NodeCacheEntry.objects.update(slot=slot(digests("", [B])[0]))
    assert cache.get([B]) == {}
    cache.set({B: (2, None)})
    assert cache.get([A, B]) == {B: 2}


def test_p12_a_pickle_in_the_table_is_never_loaded(caplog: pytest.LogCaptureFixture) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("unpickled",))

    cache = DjangoCache[Any]()
    cache.set({A: (1, None), B: (2, None)})
    NodeCacheEntry.objects.filter(namespace=list(A[0])).update(type="pickle", value=pickle.dumps(Bomb()))
    assert cache.get([A, B]) == {B: 2}
    assert "'pickle'" in caplog.text


def test_p11_a_value_that_cannot_be_stored_is_refused_and_nothing_is_written() -> None:
    with pytest.raises(NotSerializableError):
        DjangoCache[Any]().set({A: (1, None), B: (object(), None)})
    assert not NodeCacheEntry.objects.exists()


def test_a_graph_and_a_task_use_it_and_each_hit_is_told() -> None:
    ran: list[str] = []
    hits: list[str] = []

    def node(state: State) -> State:
        ran.append("node")
        return {"items": ["x"]}

    graph = StateGraph(State)
    graph.add_node("node", node, cache_policy=CachePolicy(key_func=lambda state: "same", ttl=60))
    graph.add_edge(START, "node")
    compiled = graph.compile()

    @task(cache_policy=CachePolicy(ttl=60))
    def summarise(text: str) -> str:
        ran.append("task")
        return text[:1]

    @entrypoint()
    def job(text: str) -> str:
        return summarise(text).result()

    for _ in range(2):
        cache = DjangoCache[Any](on_hit=lambda namespace, key: hits.append(namespace[-1]))
        assert execute(compiled, {"items": []}, claim(), cache=cache)["items"] == ["x"]
        assert execute(job, "abc", claim(), cache=cache) == "a"
    assert ran == ["node", "task"]
    assert len(hits) == 2
    assert any("summarise" in hit for hit in hits)


def test_encrypted_entries_and_plain_ones_are_read_together_and_a_lost_key_counts_as_missing(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cache = DjangoCache[Any]()
    keys = [(("ns",), f"k{number}") for number in range(30)]
    for part, active in ((slice(0, 10), None), (slice(10, 20), "a"), (slice(20, 30), "b")):
        settings.HOLDFAST = encryption(active)
        cache.set({key: ([("note", f"word {key[1]}")], None) for key in keys[part]})
    stored = {entry.key: bytes(entry.value) for entry in NodeCacheEntry.objects.all()}
    assert {name for name, value in stored.items() if b"word" in value} == {key[1] for key in keys[:10]}
    assert cache.get(keys) == {key: [("note", f"word {key[1]}")] for key in keys}
    settings.HOLDFAST = encryption("a", "a")
    assert sorted(cache.get(keys)) == sorted(keys[:20])
    assert sum("is not used" in line for line in caplog.messages) == 10


def test_p12_an_encrypted_entry_opens_for_no_other_graph(settings: Any) -> None:
    settings.HOLDFAST = encryption("a")
    for version, value in (("orders", 1), ("bank", 2)):
        DjangoCache[Any](version=version).set({A: (value, None)})
    stolen = NodeCacheEntry.objects.get(version="bank")
    NodeCacheEntry.objects.filter(version="orders").update(value=stolen.value, type=stolen.type)
    assert DjangoCache[Any](version="orders").get([A]) == {}
    assert DjangoCache[Any](version="bank").get([A]) == {A: 2}
