"""Retention: what nobody needs goes, what anybody needs stays (P10)."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import pytest
from django.utils import timezone
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base.id import uuid6
from langgraph.graph import START, StateGraph

from holdfast.conf import Retention
from holdfast.errors import InvalidInputError
from holdfast.persistence import DjangoCache, DjangoSaver
from holdfast.persistence.connections import connect
from holdfast.persistence.models import Effect, Entry, NodeCacheEntry, NodeFlight, RunRow, Step, Thread
from holdfast.persistence.retention import PruneReport, prune
from holdfast.persistence.retention.thread_look import checkpoint_time
from tests.integration.threads import DAY, State, config, counts, graph, keep, run_row, talk

pytestmark = pytest.mark.django_db(transaction=True)


def fold(current: list[Any], updates: list[list[Any]]) -> list[Any]:
    return [*current, *(item for update in updates for item in update)]


class Delta(TypedDict):
    items: Annotated[list[Any], DeltaChannel(fold, snapshot_frequency=4)]


def test_p10_a_thread_that_ended_long_ago_goes_and_a_younger_one_stays(at_hours: Any) -> None:
    compiled = graph()
    talk(compiled, "old", 2)
    at_hours(24.5)
    assert prune(keep(max_age=2 * DAY)) == PruneReport()
    before = counts()
    assert prune(keep(max_age=DAY), dry_run=True).threads == 1
    assert counts() == before
    report = prune(keep(max_age=DAY))
    assert (report.threads, report.checkpoints) == (1, before["checkpoints"])
    assert set(counts().values()) == {0}
    assert not Thread.objects.exists()


@pytest.mark.parametrize("status", ["queued", "running", "interrupted"])
def test_p10_a_thread_with_an_unfinished_run_does_not_expire(at_hours: Any, status: str) -> None:
    talk(graph(), "t", 3)
    run_row("t", status)
    before = counts()
    at_hours(1000)
    report = prune(Retention(max_age=0, run_age=0))
    assert report == PruneReport(skipped=1)
    assert counts() == before
    assert RunRow.objects.count() == 1


def test_p10_a_thread_that_a_stock_saver_writes_at_the_moment_is_left_alone(at_hours: Any) -> None:
    talk(graph(), "t", 3)
    before = counts()
    at_hours(0.9)
    assert prune(Retention(max_age=0, keep_last=1)) == PruneReport(skipped=1)
    assert counts() == before
    at_hours(1.1)
    assert prune(Retention(max_age=0)).threads == 1


def test_p10_a_thread_that_its_own_ended_run_wrote_needs_no_such_rest(at_hours: Any) -> None:
    at_hours(0)
    run = run_row("t", "succeeded")
    graph().invoke({"items": []}, {"configurable": {"thread_id": "t", "run_id": str(run.id)}})
    assert prune(keep(keep_last=1)).checkpoints == 2


def test_p10_the_last_n_checkpoints_stay_with_their_unchanged_values_and_writes(at_hours: Any) -> None:
    compiled = graph()
    state = talk(compiled, "t", 5)
    newest = [(s.config, s.values, s.next) for s in compiled.get_state_history(config("t"), limit=4)]
    report = prune(keep(keep_last=4))
    assert report.checkpoints > 0
    assert report.blobs > 0
    assert report.writes > 0
    assert dict(compiled.get_state(config("t")).values) == state
    left = [(s.config, s.values, s.next) for s in compiled.get_state_history(config("t"))]
    assert left == newest
    assert talk(compiled, "t", 1)["items"] == [*state["items"], len(state["items"])]
    assert prune(keep(keep_last=10)) == PruneReport()


def test_p10_subgraphs_keep_what_belongs_to_kept_roots(at_hours: Any) -> None:
    inner = StateGraph(State)
    inner.add_node("in", lambda state: {"items": ["in"]})
    inner.add_edge(START, "in")
    memory = StateGraph(State)
    memory.add_node("mem", lambda state: {"items": ["mem"]})
    memory.add_edge(START, "mem")
    with_call, with_memory = (
        graph(subgraph=inner.compile()),
        graph(subgraph=memory.compile(checkpointer=True)),
    )
    called = talk(with_call, "call", 3)
    remembered = talk(with_memory, "memory", 3)

    def spaces() -> dict[str, int]:
        with connect("default") as eye:
            rows = eye.execute(
                "SELECT thread_id, count(DISTINCT checkpoint_ns) FROM checkpoints WHERE checkpoint_ns <> '' GROUP BY 1"
            )
            return dict(rows.fetchall())

    assert spaces() == {"call": 3, "memory": 1}
    prune(keep(keep_last=4))
    assert spaces() == {"call": 1, "memory": 1}
    assert dict(with_call.get_state(config("call")).values) == called
    assert dict(with_memory.get_state(config("memory")).values) == remembered
    with connect("default") as eye:
        missing = eye.execute("""
            SELECT count(*) FROM checkpoints c, jsonb_each_text(c.checkpoint -> 'channel_versions') v
            WHERE c.checkpoint_ns <> '' AND c.thread_id = 'memory'
              AND NOT (c.checkpoint -> 'channel_values' ? v.key)
              AND NOT EXISTS (SELECT FROM checkpoint_blobs b WHERE b.thread_id = c.thread_id
                  AND b.checkpoint_ns = c.checkpoint_ns AND b.channel = v.key AND b.version = v.value)
        """).fetchone()
    after = talk(with_memory, "memory", 1)
    assert len(after["items"]) > len(remembered["items"])
    assert missing is not None


def test_p10_a_question_that_waits_unfenced_can_still_be_answered(at_hours: Any) -> None:
    compiled = graph(ask=True)
    for _ in range(3):
        compiled.invoke({"items": []}, config("t"))
    prune(keep(keep_last=1))
    from langgraph.types import Command

    assert compiled.invoke(Command(resume="yes"), config("t"))["items"] == [0]


def test_p10_a_thread_with_a_delta_channel_keeps_what_its_value_is_rebuilt_from(at_hours: Any) -> None:
    built = StateGraph(Delta)
    built.add_node("step", lambda state: {"items": [len(state["items"])]})
    built.add_edge(START, "step")
    compiled = built.compile(checkpointer=DjangoSaver())
    state = talk(compiled, "t", 8)
    assert prune(keep(keep_last=1)).checkpoints > 8
    assert dict(compiled.get_state(config("t")).values) == state
    after = counts()
    assert prune(keep(keep_last=1)) == PruneReport()
    assert counts() == after
    assert talk(compiled, "t", 1)["items"][: len(state["items"])] == state["items"]
    at_hours(48)
    assert prune(keep(max_age=DAY)).threads == 1


def test_old_runs_go_with_what_belongs_to_them_and_the_thread_goes_last(at_hours: Any) -> None:
    ended = run_row("t", "failed")
    now = timezone.now()
    Effect.objects.create(
        key="k",
        run_id=ended.id,
        thread_id="t",
        task_id="",
        function="f",
        call=0,
        kind="keyed",
        arguments_hash="",
        state="done",
        begun_at=now,
        token=ended.id,
    )
    Entry.objects.create(run_id=ended.id, thread_id="t", checkpoint_id="c")
    Step.objects.create(
        run_id=ended.id, delivery=1, step=1, node="n", task_id="t", owner="o", started_at=now, outcome="done"
    )
    at_hours(47)
    assert prune(keep(run_age=2 * DAY, max_age=DAY)) == PruneReport()
    at_hours(49)
    report = prune(keep(run_age=2 * DAY, max_age=DAY))
    assert (report.runs, report.effects, report.entries, report.steps) == (1, 1, 1, 1)
    assert prune(keep(run_age=2 * DAY, max_age=DAY)).threads == 1
    assert not Thread.objects.exists()


def test_orphans_go_but_not_those_of_a_checkpoint_on_its_way(at_hours: Any) -> None:
    at_hours(0)
    run = run_row("kept", "running")
    now = timezone.now()
    for index, owner in enumerate([run.id, "00000000-0000-0000-0000-000000000001"]):
        Effect.objects.create(
            key=str(index),
            run_id=owner,
            thread_id="t",
            task_id="",
            function="f",
            call=0,
            kind="keyed",
            arguments_hash="",
            state="done",
            begun_at=now,
            token=run.id,
        )
    saver = DjangoSaver()
    for thread_id in ("lost", "kept"):
        saver.put_writes(
            {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", "checkpoint_id": str(uuid6())}},
            [("items", [1])],
            "task",
        )
    with connect("default") as other:
        other.execute("INSERT INTO checkpoint_blobs VALUES ('lost', '', 'c', '1', 'msgpack', 'x')")
    report = prune(keep(orphans=True))
    assert (report.effects, report.writes, report.blobs) == (1, 0, 0)
    assert Effect.objects.get().run_id == run.id
    at_hours(1.1)
    report = prune(keep(orphans=True))
    assert (report.writes, report.blobs, report.skipped) == (1, 1, 1)
    assert counts() == {"checkpoints": 0, "checkpoint_blobs": 0, "checkpoint_writes": 1}


def test_expired_cache_entries_go_in_batches(at_hours: Any) -> None:
    at_hours(0)
    DjangoCache[Any]().set({(("n",), str(i)): (i, 60) for i in range(10)} | {(("n",), "x"): (1, None)})
    assert prune(keep(cache=True)).cache_entries == 0
    at_hours(1)
    seen: list[int] = []
    assert prune(keep(cache=True), dry_run=True).cache_entries == 10
    report = prune(keep(cache=True, batch=4), progress=lambda r: seen.append(r.cache_entries))
    assert report.cache_entries == 10
    assert seen == [4, 8, 10]
    assert NodeCacheEntry.objects.get().key == "x"


def test_cache_entries_of_a_version_that_is_gone_go_after_a_day_without_use(at_hours: Any) -> None:
    at_hours(0)
    kept = ["", "orders@2", "strangers@1"]
    for version in ("orders@1", *kept):
        DjangoCache[Any](version=version).set({(("n",), "k"): (1, None)})
    known = {"orders": {"orders@2"}, "others": {""}}
    assert (
        prune(keep(cache=True), cache_versions=known).cache_entries == 0
    )  # an earlier deploy's may use them
    at_hours(25)
    assert prune(keep(cache=True)).cache_entries == 0  # who knows no graphs does not judge
    assert prune(keep(cache=True), cache_versions=known, dry_run=True).cache_entries == 1
    NodeCacheEntry.objects.update(used_at=timezone.now() + timedelta(hours=2))
    assert prune(keep(cache=True), cache_versions=known).cache_entries == 0
    at_hours(27)
    assert prune(keep(cache=True), cache_versions=known).cache_entries == 1
    assert sorted(NodeCacheEntry.objects.values_list("version", flat=True)) == kept


def test_p10_the_lead_of_a_run_that_is_its_own_stays(at_hours: Any) -> None:
    run = run_row("thread", "running", token=uuid4())
    for slot, token in ((1, run.token), (2, uuid4())):
        NodeFlight.objects.create(
            slot=slot,
            namespace=["n"],
            key="k",
            holder=uuid4(),
            run_id=run.id,
            token=token,
            begun_at=timezone.now(),
            renewed_at=timezone.now(),
            waits_for=[],
        )
    at_hours(0)
    prune(keep(cache=True))
    assert NodeFlight.objects.count() == 2
    at_hours(2)
    prune(keep(cache=True))
    assert NodeFlight.objects.get().slot == 1


def test_pages_cover_every_thread_with_and_without_a_row(at_hours: Any) -> None:
    compiled = graph()
    for i in range(7):
        talk(compiled, f"thread-{i}", 1)
    Thread.objects.create(id="row-only", created_at=timezone.now())
    at_hours(48)
    assert prune(keep(max_age=DAY, batch=2)).threads == 8
    assert set(counts().values()) == {0}


@pytest.mark.parametrize(
    "fields", [{"keep_last": 0}, {"max_age": -1}, {"batch": None}, {"run_age": "90 days"}]
)
def test_p11_an_absurd_policy_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        prune(keep(**fields))
    assert caught.value.field in fields


def test_the_time_of_a_checkpoint_is_in_its_id() -> None:
    made = checkpoint_time(str(uuid6()))
    assert made is not None
    assert abs(made - timezone.now()) < timedelta(seconds=5)
    assert checkpoint_time("anything else") is None
