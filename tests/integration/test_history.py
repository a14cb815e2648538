"""history= on register: what of a run's checkpoints, writes and values stays when it ends (P10, R20)."""

from __future__ import annotations

import threading
import time
from typing import Annotated, Any

import psycopg
import pytest
from django.db import connection
from langgraph.channels import DeltaChannel
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

import holdfast
from holdfast.persistence import DjangoSaver, ledger
from holdfast.persistence.connections import connect, pool
from holdfast.persistence.models import Checkpoint, CheckpointBlob, CheckpointWrite, RunRow
from holdfast.persistence.retention import history as module
from holdfast.persistence.retention import prune
from holdfast.persistence.retention.history import thin_ended
from holdfast.runner.runs import attend, sweep
from holdfast.runner.runs.process import here
from holdfast.runner.runs.thinning import thin_now
from holdfast.testing import run_now
from tests.acceptance.journal.graphs import _graph as journal
from tests.acceptance.journal.pages import notes, page
from tests.integration.lifecycle import bells
from tests.integration.test_retention_held import missing_values, roots
from tests.integration.threads import config, keep

__all__ = ["bells"]
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("bells"),
]

holdfast.register("journal-latest", history="latest")(journal)
holdfast.register("journal-three", history=3)(journal)
holdfast.register("journal-all", history="all")(journal)

NOTHING = keep()


def enqueue(graph: str, name: str, steps: int = 4, **more: Any) -> Any:
    return holdfast.enqueue(graph, page(name, steps, **more), thread_id="t")


def values() -> Any:
    return holdfast.state("t").values["notes"]


@pytest.fixture
def not_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process had died right after its runs ended: nobody has thinned anything."""
    monkeypatch.setattr(attend, "thin_now", lambda thread_id: None)


@pytest.mark.parametrize(("graph", "left"), [("journal-latest", 1), ("journal-three", 3), ("journal-all", 7)])
def test_of_a_run_as_many_checkpoints_stay_as_its_graph_was_registered_with(graph: str, left: int) -> None:
    run = run_now(enqueue(graph, "a"))
    assert run.result["notes"] == notes("a", 4)
    assert roots("t") == left
    assert values() == notes("a", 4)
    assert missing_values() == []
    if left == 1:
        assert CheckpointWrite.objects.count() == 0
        assert CheckpointBlob.objects.filter(channel="notes").count() == 1


def test_runs_on_one_thread_leave_no_more_than_the_last_of_them_may() -> None:
    for number in range(3):
        run_now(enqueue("journal-latest", f"n{number}"))
        assert roots("t") == 1
    assert values() == [note for number in range(3) for note in notes(f"n{number}", 4)]


def test_what_another_run_of_the_thread_may_keep_stays() -> None:
    run_now(enqueue("journal-all", "a"))
    run_now(enqueue("journal-latest", "b"))
    assert roots("t") == 7 + 1
    states = [state.values.get("notes") for state in holdfast.history("t")]
    assert states[:2] == [[*notes("a", 4), *notes("b", 4)], notes("a", 4)]
    assert missing_values() == []


def test_p3_a_failed_run_is_retried_from_the_step_that_failed(tmp_path: Any) -> None:
    done = tmp_path / "done"
    log = tmp_path / "log"
    failed = run_now(enqueue("journal-latest", "a", fail_unless=str(done), log=str(log)))
    assert (failed.status, roots("t")) == ("failed", 1)
    done.touch()
    holdfast.retry(failed.id)
    run = run_now(failed)
    assert run.result["notes"] == notes("a", 4)
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["a.0", "a.1", "a.2", "a.3", "a.3"]
    assert roots("t") == 1, "thinned again at its second end"


def test_p10_a_rollback_leads_back_to_what_an_ended_run_left(not_yet: None) -> None:
    run_now(enqueue("journal-latest", "a"))
    waiting = run_now(enqueue("journal-latest", "b", ask_at=2))
    assert waiting.status == "interrupted"
    before = roots("t")
    thin_now("t")
    assert roots("t") == before - 6, "all of a's but its last, and nothing of b's"
    holdfast.cancel(waiting.id, rollback=True)
    ledger.apply_cancels()
    sweep.roll_back()
    assert values() == notes("a", 4)
    assert missing_values() == []


def test_an_interrupted_run_keeps_all_that_it_has(not_yet: None) -> None:
    waiting = run_now(enqueue("journal-latest", "a", ask_at=2))
    before = roots("t")
    thin_now("t")
    assert roots("t") == before
    holdfast.resume(waiting.id, "yes")
    assert run_now(waiting).status == "succeeded"
    thin_now("t")
    assert roots("t") == 1


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_a_run_that_the_sweep_ends_is_thinned_too(how: str, not_yet: None) -> None:
    waiting = run_now(enqueue("journal-latest", "a", ask_at=3))
    if how == "cancel":
        holdfast.cancel(waiting.id)
        ledger.apply_cancels()
    else:
        RunRow.objects.filter(id=waiting.id).update(deadline="2020-01-01T00:00Z")
        ledger.sweep_deadlines()
    assert ledger.histories_due() == ["t"]
    thin_now("t")
    assert roots("t") == 1
    assert ledger.histories_due() == []


def test_the_sweep_of_any_worker_finds_what_a_dead_one_left(not_yet: None) -> None:
    run_now(enqueue("journal-latest", "a"))
    assert roots("t") == 7
    sweep.sweep(here(), judge=False)
    deadline = time.monotonic() + 10
    while roots("t") > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)  # no event tells of another thread's commit


def test_prune_finds_it_too_and_a_dry_run_only_counts(not_yet: None) -> None:
    run_now(enqueue("journal-latest", "a"))
    dry = prune(NOTHING, dry_run=True)
    assert (dry.checkpoints, roots("t")) == (6, 7)
    assert prune(NOTHING) == dry
    assert roots("t") == 1
    assert prune(NOTHING).checkpoints == 0


def test_r20_a_thread_that_somebody_holds_is_left_for_later(not_yet: None) -> None:
    run_now(enqueue("journal-latest", "a"))
    with connect("default") as other, other.transaction():
        other.execute("SELECT FROM holdfast_thread WHERE id = 't' FOR KEY SHARE")
        thin_now("t")
        assert roots("t") == 7
    assert ledger.histories_due() == ["t"]
    thin_now("t")
    assert roots("t") == 1


def test_r20_a_thread_that_was_written_without_a_fence_lately_is_left_alone(
    at_hours: Any, not_yet: None
) -> None:
    run_now(enqueue("journal-latest", "a"))
    plain = journal().compile(checkpointer=DjangoSaver())
    plain.invoke(page("stranger", 1), config("t"))
    before = roots("t")
    thin_now("t")
    assert roots("t") == before
    assert ledger.histories_due() == [], "looked at again in a while, not each second"
    at_hours(0.9)
    prune(NOTHING)
    assert roots("t") == before
    at_hours(2)
    prune(NOTHING)
    assert roots("t") == before - 7, "all of a's: the stranger's are newer, and stay"
    assert values() == [*notes("a", 4), *notes("stranger", 1)]
    assert missing_values() == []


def test_r20_a_run_that_writes_meanwhile_misses_nothing(not_yet: None) -> None:
    """The next run goes on from the values that its predecessor left, while that one is being thinned out."""
    run_now(enqueue("journal-latest", "a", 20))
    following = enqueue("journal-latest", "b", 40)
    ended: list[Any] = []

    def execute() -> None:
        try:
            ended.append(run_now(following))
        finally:
            connection.close()

    executor = threading.Thread(target=execute)
    executor.start()
    while executor.is_alive():
        RunRow.objects.filter(status="succeeded").update(thin_at="2020-01-01T00:00Z")
        with connect("default") as other:
            thin_ended(other, "default", ["t"])
        assert missing_values() == []
    executor.join()
    assert ended[0].result["notes"] == [*notes("a", 20), *notes("b", 40)]
    thin_now("t")
    assert roots("t") == 1
    assert missing_values() == []


def test_a_process_that_dies_on_the_way_has_done_nothing(
    not_yet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_now(enqueue("journal-latest", "a"))
    original = module.thin

    def dying(*given: Any, **more: Any) -> Any:
        gone = yield from original(*given, **more)
        with connect("default") as killer:
            killer.execute("SELECT pg_terminate_backend(%s)", [dead.info.backend_pid])
        return gone

    with monkeypatch.context() as patch, connect("default") as dead:
        patch.setattr(module, "thin", dying)
        with pytest.raises(psycopg.OperationalError):
            thin_ended(dead, "default", ["t"])
    assert roots("t") == 7
    assert ledger.histories_due() == ["t"]
    thin_now("t")
    assert roots("t") == 1


class Deltas(TypedDict):
    items: Annotated[list[int], DeltaChannel(lambda old, new: [*old, *(n for one in new for n in one)], list)]


def delta_graph() -> StateGraph[Deltas, None, Deltas, Deltas]:
    graph = StateGraph(Deltas)
    graph.add_node("add", lambda state: {"items": [len(state["items"])]})
    graph.add_edge(START, "add")
    graph.add_conditional_edges("add", lambda state: END if len(state["items"]) % 10 == 0 else "add")
    return graph


holdfast.register("delta-latest", history="latest")(delta_graph)


def test_p10_a_delta_channel_is_rebuilt_from_what_stays() -> None:
    for turn in (1, 2):
        run = run_now(holdfast.enqueue("delta-latest", {"items": []}, thread_id="d"))
        assert run.result == {"items": list(range(10 * turn))}
        assert holdfast.state("d").values == run.result
        assert ledger.histories_due() == []
    assert Checkpoint.objects.filter(thread_id="d").count() >= 20, "no snapshot yet: each of them is needed"


def test_the_pool_has_its_connection_back(not_yet: None) -> None:
    run_now(enqueue("journal-latest", "a"))
    thin_now("t")
    with pool("default").connection() as mine:
        assert mine.info.transaction_status.name == "IDLE"
