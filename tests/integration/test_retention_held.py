"""P10, R20: a thread that is never idle is thinned too, and the run that holds it misses nothing.

The run writes on one connection, as under a worker, while retention deletes on another.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

import holdfast
from holdfast.conf import Retention
from holdfast.persistence import DjangoSaver, ledger
from holdfast.persistence.connections import connect
from holdfast.persistence.models import Checkpoint, Entry, RunRow
from holdfast.persistence.retention import PruneReport, prune
from holdfast.persistence.retention import pruning as module
from holdfast.runner.runs import sweep
from holdfast.testing import run_now
from tests.acceptance.journal.pages import notes, page
from tests.integration.attempts import claim
from tests.integration.lifecycle import bells
from tests.integration.threads import State, config, keep

__all__ = ["bells"]
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("bells"),
]

STEPS = 60
TIGHT = keep(keep_last=1)

MISSING = """
SELECT c.checkpoint_ns, c.checkpoint_id, v.key
FROM checkpoints c, jsonb_each_text(c.checkpoint -> 'channel_versions') v
WHERE NOT (c.checkpoint -> 'channel_values' ? v.key) AND v.key NOT LIKE 'branch:%' AND v.key <> '__start__'
    AND NOT EXISTS (SELECT FROM checkpoint_blobs b WHERE b.thread_id = c.thread_id
        AND b.checkpoint_ns = c.checkpoint_ns AND b.channel = v.key AND b.version = v.value)
"""


def missing_values() -> list[tuple[Any, ...]]:
    """What a checkpoint refers to and is not there."""
    with connect("default") as eye:
        return eye.execute(MISSING).fetchall()


def roots(thread_id: str) -> int:
    return Checkpoint.objects.filter(thread_id=thread_id, checkpoint_ns="").count()


def looping(*, ask_at: int | None = None) -> Any:
    """STEPS super-steps, each with a subgraph, and values that never change."""

    def inside(state: State) -> State:
        return {"items": ["in"]} if len(state["items"]) < 2 else {}

    def step(state: State) -> State:
        if len(state["items"]) == ask_at:
            interrupt("go on?")
        return {"items": [len(state["items"])]}

    inner = StateGraph(State)
    inner.add_node("inside", inside)
    inner.add_edge(START, "inside")
    graph = StateGraph(State)
    graph.add_node("step", step)
    graph.add_node("sub", inner.compile())
    graph.add_edge(START, "step")
    graph.add_edge("step", "sub")
    graph.add_conditional_edges("sub", lambda state: "step" if len(state["items"]) < STEPS else "__end__")
    return graph.compile()


def test_p10_a_run_that_never_rests_is_thinned_under_its_steps_and_ends_as_without(at_hours: Any) -> None:
    attempt = claim("t")
    graph = looping().copy({"checkpointer": DjangoSaver(fence=attempt.fence)})
    marked = {**config("t"), "recursion_limit": 10 * STEPS}
    marked["configurable"]["run_id"] = str(attempt.run_id)
    ended: list[Any] = []

    def execute() -> None:
        try:
            ended.append(graph.invoke({"items": [], "big": "unchanged" * 100}, marked, durability="sync"))
        except BaseException as error:  # the test looks at what it was
            ended.append(error)
        finally:
            connection.close()

    executor = threading.Thread(target=execute)
    executor.start()
    reports = PruneReport()
    while executor.is_alive():
        reports += prune(TIGHT)
    executor.join()
    assert isinstance(ended[0], dict), ended
    assert ended[0]["big"] == "unchanged" * 100
    assert len(ended[0]["items"]) >= STEPS
    assert reports.checkpoints > 0, "it was thinned while it went on"
    prune(TIGHT)
    assert roots("t") == 1
    assert missing_values() == []
    assert dict(graph.get_state(config("t")).values) == ended[0]


def test_p10_a_question_in_a_thinned_thread_is_answered_where_it_was_asked() -> None:
    attempt = claim("t")
    graph = looping(ask_at=5).copy({"checkpointer": DjangoSaver(fence=attempt.fence)})
    marked = {**config("t"), "recursion_limit": 10 * STEPS}
    marked["configurable"]["run_id"] = str(attempt.run_id)
    graph.invoke({"items": [], "big": "b"}, marked, durability="sync")
    before = graph.get_state(config("t"))
    assert prune(TIGHT).checkpoints > 0
    after = graph.get_state(config("t"))
    assert (after.values, after.next, after.interrupts) == (before.values, before.next, before.interrupts)
    assert len(graph.invoke(Command(resume="yes"), marked, durability="sync")["items"]) >= STEPS


def test_p10_a_rollback_leads_back_to_where_the_run_began() -> None:
    run_now(holdfast.enqueue("journal", page("a"), thread_id="t"))
    waiting = run_now(holdfast.enqueue("journal", page("b", steps=9, ask_at=8), thread_id="t"))
    assert waiting.status == "interrupted"
    assert prune(TIGHT).checkpoints > 0
    assert roots("t") == 2, "the newest, and the one that b began on"
    assert prune(TIGHT) == PruneReport()
    assert holdfast.state("t").values["notes"][: len(notes("a"))] == notes("a")

    holdfast.cancel(waiting.id, rollback=True)
    ledger.apply_cancels()
    sweep.roll_back()
    assert holdfast.state("t").values["notes"] == notes("a")
    assert missing_values() == []
    assert run_now(holdfast.enqueue("journal", page("c"), thread_id="t")).result["notes"] == [
        *notes("a"),
        *notes("c"),
    ]


def test_p10_a_failed_run_that_may_be_retried_and_then_rolled_back_keeps_where_it_began() -> None:
    run_now(holdfast.enqueue("journal", page("a"), thread_id="t"))
    failed = run_now(holdfast.enqueue("journal", page("b", steps=9, fail_unless="/nowhere"), thread_id="t"))
    assert failed.status == "failed"
    prune(TIGHT)
    holdfast.retry(failed.id)
    holdfast.cancel(failed.id, rollback=True)
    ledger.apply_cancels()
    sweep.roll_back()
    assert holdfast.state("t").values["notes"] == notes("a")


def test_r20_a_run_that_enters_between_look_and_deletion_finds_where_it_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is kept is decided by the statement that deletes: its snapshot is younger than the look's."""
    run_now(holdfast.enqueue("journal", page("a"), thread_id="t"))
    attempt = claim("t")
    began_on = (
        Checkpoint.objects.filter(thread_id="t", checkpoint_ns="").latest("checkpoint_id").checkpoint_id
    )
    graph = looping(ask_at=9).copy({"checkpointer": DjangoSaver(fence=attempt.fence)})
    marked = {**config("t"), "recursion_limit": 10 * STEPS}
    marked["configurable"]["run_id"] = str(attempt.run_id)
    original = module.Pruning._prune_thread

    def enters_first(pruning: Any, look: Any) -> PruneReport:
        if not Entry.objects.filter(run_id=attempt.run_id).exists():
            entering = threading.Thread(target=lambda: graph.invoke({"items": [], "big": "b"}, marked))
            entering.start()
            entering.join(30)
            assert roots("t") > 9
        return original(pruning, look)

    monkeypatch.setattr(module.Pruning, "_prune_thread", enters_first)
    prune(TIGHT)
    left = Checkpoint.objects.filter(thread_id="t", checkpoint_ns="").order_by("checkpoint_id")
    assert left[0].checkpoint_id == began_on
    assert len(left) == 2


def test_p10_rows_of_earlier_runs_of_a_thread_that_is_in_use_go_by_their_age(at_hours: Any) -> None:
    for name in ("a", "b"):
        run_now(holdfast.enqueue("journal", page(name), thread_id="t"))
    waiting = run_now(holdfast.enqueue("journal", page("c", ask_at=0), thread_id="t"))
    at_hours(48)
    assert prune(keep(run_age=86400.0)).runs == 2
    assert [row.id for row in RunRow.objects.all()] == [waiting.id]
    holdfast.resume(waiting.id, "yes")
    assert run_now(waiting).status == "succeeded"
    assert prune(Retention(max_age=None)) == PruneReport()
