"""The saver's contract: upstream's conformance suite, and what that does not ask."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT
from langgraph.types import Interrupt

from holdfast.errors import InvalidInputError, NotSerializableError, TypeNotAllowedError
from holdfast.persistence import AsyncDjangoSaver, DjangoSaver
from holdfast.persistence.connections import close_pools, connect
from holdfast.persistence.models import Checkpoint, CheckpointBlob, CheckpointWrite
from holdfast.persistence.saver.statements import Statements
from tests.integration.claims import a_checkpoint, chain, claim, config_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _pools() -> Iterator[None]:
    yield
    close_pools()


def stored(saver: DjangoSaver, thread_id: Any, parent: str | None = None, **values: Any) -> dict[str, Any]:
    checkpoint, versions = a_checkpoint(saver, **values)
    more = {"checkpoint_id": parent} if parent else {}
    return dict(saver.put(config_for(thread_id, **more), checkpoint, {"source": "loop"}, versions))


class ThroughSync(DjangoSaver):
    """Its async calls are the sync ones, so that upstream's cases, which are async, try those."""

    async def aget_tuple(self, *args: Any) -> Any:
        return self.get_tuple(*args)

    async def alist(self, *args: Any, **kw: Any) -> AsyncGenerator[Any, None]:
        for found in self.list(*args, **kw):
            yield found

    async def aput(self, *args: Any) -> Any:
        return self.put(*args)

    async def aput_writes(self, *args: Any, **kw: Any) -> None:
        self.put_writes(*args, **kw)

    async def adelete_thread(self, *args: Any) -> None:
        self.delete_thread(*args)

    async def adelete_for_runs(self, *args: Any) -> None:
        self.delete_for_runs(*args)

    async def acopy_thread(self, *args: Any) -> None:
        self.copy_thread(*args)

    async def aprune(self, *args: Any, **kw: Any) -> None:
        self.prune(*args, **kw)


@pytest.mark.parametrize("saver_class", [DjangoSaver, AsyncDjangoSaver, ThroughSync])
def test_upstreams_conformance_suite_passes_in_all_capabilities(saver_class: type[DjangoSaver]) -> None:
    @checkpointer_test(name=saver_class.__name__)
    async def factory() -> AsyncGenerator[DjangoSaver, None]:
        yield saver_class()

    report = asyncio.run(validate(factory))
    failures = {name: result.failures for name, result in report.results.items() if result.failures}
    assert not failures
    assert report.passed_all()
    assert len([result for result in report.results.values() if result.passed]) == 8


def test_calls_inside_of_list_work_while_it_is_iterated() -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    parent = None
    for number in range(4):
        parent = stored(saver, thread_id, parent, n=number)["configurable"]["checkpoint_id"]
    seen = []
    for found in saver.list(config_for(thread_id)):
        again = saver.get_tuple(found.config)
        assert again == found
        saver.put_writes(found.config, [("n", 9)], "task")
        seen.append(found.checkpoint["channel_values"]["n"])
    assert seen == [3, 2, 1, 0]


def test_list_reads_page_by_page_and_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAGE", "KEYS"):
        monkeypatch.setattr(f"holdfast.persistence.saver.reading.{name}", 2)
    saver, thread_id = DjangoSaver(), str(uuid4())
    ids = [stored(saver, thread_id, n=number)["configurable"]["checkpoint_id"] for number in range(5)]
    newest_first = sorted(ids, reverse=True)
    assert [f.checkpoint["id"] for f in saver.list(config_for(thread_id))] == newest_first
    assert [f.checkpoint["id"] for f in saver.list(config_for(thread_id), limit=3)] == newest_first[:3]
    assert list(saver.list(config_for(thread_id), limit=0)) == []
    before = config_for(thread_id, checkpoint_id=newest_first[1])
    assert [f.checkpoint["id"] for f in saver.list(config_for(thread_id), before=before)] == newest_first[2:]

    async def asynchronously() -> list[str]:
        return [f.checkpoint["id"] async for f in saver.alist(config_for(thread_id))]

    assert asyncio.run(asynchronously()) == newest_first


@pytest.mark.parametrize(
    ("value", "write", "most"),
    [("x" * 10_000, 1, 4), (["x" * 10_000], 1, 4), (1, "x" * 10_000, 4), (1, 1, 20)],
    ids=["a text in the checkpoint", "a value", "a pending write", "small"],
)
def test_what_list_holds_does_not_grow_with_the_thread(
    value: Any, write: Any, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.persistence.saver.reading.PAGE", 20)
    monkeypatch.setattr("holdfast.persistence.saver.reading.PAGE_BYTES", 50_000)
    saver, thread_id, pages, original = DjangoSaver(), str(uuid4()), [], Statements.rows
    for _ in range(60):
        saver.put_writes(stored(saver, thread_id, value=value), [("value", write)], "task")

    def rows(self: Any, ask: Any) -> Any:
        found = original(self, ask)
        if ask.name == "saver_rows":
            pages.append(len(found))
        return found

    monkeypatch.setattr(Statements, "rows", rows)
    assert len(list(saver.list(config_for(thread_id)))) == sum(pages) == 60
    assert pages[0] == 10, "nothing is known of their size yet"
    assert max(pages[1:]) == most


def test_a_filter_is_a_value_and_never_sql() -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    stored(saver, thread_id, n=1)
    nasty = {"source": "loop' OR '1'='1", "x') --": 1}
    assert list(saver.list(config_for(thread_id), filter=nasty)) == []
    assert len(list(saver.list(config_for(thread_id), filter={"source": "loop"}))) == 1


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        -0.0,
        1e16,
        -1e22,
        9999999999999998.0,
        5e-324,
        0.1,
        "a\x00b",
        2**100,
        -(2**63),
        True,
        None,
        "ü",
        [1, {"a": (1, 2)}],
        b"\xff",
    ],
    ids=repr,
)
def test_p12_every_plain_value_comes_back_as_it_was_or_is_refused(value: Any) -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    config = stored(saver, thread_id, it=value)
    found = saver.get_tuple(config)
    assert found is not None
    back = found.checkpoint["channel_values"]["it"]
    assert repr(back) == repr(value)
    assert type(back) is type(value)


def test_p12_half_a_surrogate_pair_is_stored_as_in_any_other_value() -> None:
    """As a question mark (docs/codec.md); jsonb would refuse the checkpoint."""
    saver, thread_id = DjangoSaver(), str(uuid4())
    found = saver.get_tuple(stored(saver, thread_id, text="a\ud83d", texts=["a\ud83d"]))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"text": "a?", "texts": ["a?"]}


def test_p11_a_refused_value_names_its_channel_and_writes_nothing() -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    with pytest.raises(NotSerializableError) as caught:
        stored(saver, thread_id, good=[1], bad={"deep": [object()]})
    assert caught.value.path == "state['bad'][\"deep\"][0]"
    with pytest.raises(NotSerializableError) as caught:
        saver.put_writes(config_for(thread_id, checkpoint_id="x"), [("bad", {"a": threading.Lock()})], "t")
    assert caught.value.path == "write to 'bad'[\"a\"]"
    for model in (Checkpoint, CheckpointBlob, CheckpointWrite):
        assert not model.objects.filter(thread_id=thread_id).exists()


def test_p12_reading_a_type_that_is_not_allowed_raises() -> None:
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    from tests.unit.codec_types import Stranger

    thread_id = str(uuid4())
    permissive = DjangoSaver(serde=JsonPlusSerializer(allowed_msgpack_modules=True))
    config = stored(permissive, thread_id, it=Stranger(1))
    with pytest.raises(TypeNotAllowedError) as caught:
        DjangoSaver().get_tuple(config)
    assert caught.value.type == "tests.unit.codec_types.Stranger"
    assert caught.value.setting == "SERIALIZABLE"


def test_an_error_that_a_node_raised_is_stored_whatever_it_is() -> None:
    class LooksLikeAModel(Exception):
        def dict(self) -> dict[str, object]:
            return {"no": object()}

    saver, thread_id = DjangoSaver(), str(uuid4())
    config = stored(saver, thread_id, n=1)
    saver.put_writes(config, [(ERROR, LooksLikeAModel("boom"))], "task-a")
    saver.put_writes(config, [(ERROR, ValueError("bang"))], "task-b")
    found = saver.get_tuple(config)
    assert found is not None
    assert [write[2] for write in found.pending_writes or []] == [
        "LooksLikeAModel('boom')",
        "ValueError('bang')",
    ]


def test_special_writes_are_replaced_and_others_keep_their_first_value() -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    config = stored(saver, thread_id, n=1)
    for round_ in (1, 2):
        saver.put_writes(config, [("n", round_)], "a")
        saver.put_writes(config, [(INTERRUPT, (Interrupt(value=round_, id="i"),))], "b")
    found = saver.get_tuple(config)
    assert found is not None
    assert found.pending_writes == [("a", "n", 1), ("b", INTERRUPT, (Interrupt(value=2, id="i"),))]


def test_writes_come_back_in_the_order_of_their_tasks() -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    config = stored(saver, thread_id, n=1)
    saver.put_writes(config, [("n", index) for index in range(12)], "t1", "b")
    saver.put_writes(config, [("n", 100)], "t0", "B")
    saver.put_writes(config, [("n", 200)], "t2", "a")
    found = saver.get_tuple(config)
    assert found is not None
    assert [write[2] for write in found.pending_writes or []] == [100, 200, *range(12)]


def test_delete_for_runs_keeps_the_values_that_others_use() -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    old, versions = a_checkpoint(saver, shared=[1], own=[2])
    first = saver.put(config_for(thread_id), old, {"run_id": "doomed-run"}, versions)
    new, _ = a_checkpoint(saver, shared=[1])
    new["channel_versions"] = {"shared": versions["shared"]}
    kept = saver.put(first, new, {"run_id": "other-run"}, {})
    saver.delete_for_runs(["doomed-run"])
    found = saver.get_tuple(kept)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"shared": [1]}
    assert found.parent_config is None
    assert saver.get_tuple(first) is None
    assert list(CheckpointBlob.objects.filter(thread_id=thread_id).values_list("channel", flat=True)) == [
        "shared"
    ]


def test_prune_and_deletion_refuse_what_they_would_misread() -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    config = stored(saver, thread_id, n=1)
    with pytest.raises(ValueError, match="keep_all"):
        saver.prune([thread_id], strategy="keep_all")
    with pytest.raises(TypeError, match="not a str"):
        saver.prune(thread_id)
    with pytest.raises(TypeError, match="not a str"):
        saver.delete_for_runs(thread_id)
    saver.prune([])
    saver.delete_for_runs([])
    assert saver.get_tuple(config) is not None
    saver.prune([thread_id], strategy="delete")
    assert saver.get_tuple(config) is None


@pytest.mark.parametrize(
    "at", [{}, {"thread_id": None}, {"thread_id": "a\0b"}], ids=["missing", "None", "NUL"]
)
def test_p11_no_call_takes_another_thread_for_one_that_is_not_named(at: dict[str, Any]) -> None:
    """``str(None)`` would be a thread that all share who forgot its id."""
    saver, config = DjangoSaver(), {"configurable": {**at, "checkpoint_id": "1"}}
    checkpoint, versions = a_checkpoint(saver, n=1)
    given, before = at.get("thread_id"), Checkpoint.objects.count()
    calls: list[Callable[[], Any]] = [
        lambda: saver.get_tuple(config),
        lambda: saver.put(config, checkpoint, {}, versions),
        lambda: saver.put_writes(config, [("n", 1)], "task"),
        lambda: saver.get_delta_channel_history(config=config, channels=["n"]),
        lambda: asyncio.run(saver.aget_tuple(config)),
        lambda: asyncio.run(saver.aput(config, checkpoint, {}, versions)),
        lambda: saver.delete_thread(given),
        lambda: saver.copy_thread("a", given),
        lambda: saver.copy_thread(given, "a"),
        lambda: saver.prune([given]),
        lambda: saver.prune([given], strategy="delete"),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert caught.value.field == "config.configurable.thread_id"
    assert Checkpoint.objects.count() == before


def test_a_thread_id_is_what_it_says_as_a_text_as_with_stock() -> None:
    saver, given = DjangoSaver(), uuid4()
    stored(saver, given, n=1)
    assert saver.get_tuple(config_for(str(given))) == saver.get_tuple(config_for(given))


def test_parallel_threads_write_in_parallel_over_the_pool(settings: Any) -> None:
    settings.HOLDFAST = {"POOL_SIZE": 2}
    close_pools()
    saver, fence = DjangoSaver(), claim()
    with connect("default") as holder, connect("default") as observer:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE checkpoint_blobs IN EXCLUSIVE MODE")
        blocked = threading.Thread(target=stored, args=(saver, fence.thread_id), kwargs={"n": [1]})
        blocked.start()
        while not observer.execute(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ).fetchone():
            pass
        saver.put_writes(config_for(fence.thread_id, checkpoint_id="c"), [("n", 1)], "task")
        assert blocked.is_alive()
        holder.execute("ROLLBACK")
        blocked.join(10)
    assert saver.get_tuple(config_for(fence.thread_id)) is not None


def test_async_graphs_run_on_the_same_object() -> None:
    fence = claim()
    graph = chain(3).compile(checkpointer=DjangoSaver(fence=fence))
    config = config_for(fence.thread_id)

    async def run() -> Any:
        result = await graph.ainvoke({"items": [], "count": 0}, config, durability="sync")
        history = [state async for state in graph.aget_state_history(config)]
        return result, len(history)

    result, length = asyncio.run(run())
    assert result == {"items": ["n0", "n1", "n2"], "count": 3}
    assert length == 5
    assert graph.get_state(config).values == result
