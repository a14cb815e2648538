"""R8, R14, P6: runs that are executed are ended when people or their deadlines want it, and free their threads."""

from __future__ import annotations

from typing import Any

import pytest

import holdfast
from holdfast.persistence.models import CancelRequest, Entry, RunRow
from tests.acceptance.journal.pages import Gate, Log, notes, page
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage

SETTINGS = {"BELL_IDLE": 1.0, "LEASE": 6.0, "IDLE_IN_TRANSACTION": 3.0}


class Scene:
    """A run in the middle of a step that waits at its gate, on a thread with a history and a follower."""

    def __init__(self, stage: Stage, name: str, **follower: Any) -> None:
        self.gate, self.log, self.name = Gate(stage.directory), Log(stage.directory), name
        self.thread = f"thread-{name}"
        before = holdfast.enqueue("journal", page("before"), thread_id=self.thread)
        holdfast.wait(before.id, timeout=60)
        self.run = holdfast.enqueue(
            "journal",
            page(name, 3, gate=str(self.gate), gate_at=1, log=str(self.log), seconds=0.01),
            thread_id=self.thread,
        )
        until(lambda: self.log.counts()[f"{name}.1"] == 1, 60, f"{name} waits in its second step")
        self.after = holdfast.enqueue("journal", page("after"), thread_id=self.thread, **follower)

    def go_on_when_asked_to_stop(self) -> None:
        """Open the gate once the process has heard of the wish: two beats after it."""
        for _ in range(2):
            before = RunRow.objects.get(id=self.run.id).renewed_at
            until(lambda b=before: RunRow.objects.get(id=self.run.id).renewed_at != b, 30, "it beats")
        self.gate.open()

    def ends(self, status: str, *, keeps: list[str]) -> holdfast.Run:
        """The run ends so, the follower runs, and the thread shows just what each was to leave."""
        ended = holdfast.wait(self.run.id, timeout=60)
        assert ended.status == status, ended.error
        after = holdfast.wait(self.after.id, timeout=60)
        assert after.status == "succeeded", after.error
        assert after.result["notes"] == notes("before") + keeps + notes("after")
        return ended


def test_p6_a_run_that_is_executed_ends_as_it_is_asked_to(stage: Stage) -> None:
    worker = stage.worker(concurrency=2, holdfast=SETTINGS)

    at_boundary = Scene(stage, "a")
    holdfast.cancel(at_boundary.run.id)
    at_boundary.go_on_when_asked_to_stop()
    ended = at_boundary.ends("cancelled", keeps=["a>", "a.0", "a.1"])
    assert ended.error is not None
    assert "between two steps" in ended.error["message"]
    assert at_boundary.log.counts() == {"a.0": 1, "a.1": 1}

    rolled_back = Scene(stage, "b")
    holdfast.cancel(rolled_back.run.id, rollback=True)
    rolled_back.ends("cancelled", keeps=[])  # the gate is still shut: its token went first
    assert not Entry.objects.filter(run_id=rolled_back.run.id).exists()
    rolled_back.gate.open()  # what the executor then writes is refused (P2): see the end

    displaced = Scene(stage, "c", multitask_strategy="interrupt")
    displaced.go_on_when_asked_to_stop()
    displaced.ends("cancelled", keeps=["c>", "c.0", "c.1"])

    replaced = Scene(stage, "d", multitask_strategy="rollback")
    replaced.ends("cancelled", keeps=[])
    replaced.gate.open()
    holdfast.retry(replaced.run.id)  # its input was taken back with the rest, so it is applied again
    again = holdfast.wait(replaced.run.id, timeout=60)
    assert again.status == "succeeded", again.error
    assert again.result["notes"] == notes("before") + notes("after") + notes("d", 3)

    assert not CancelRequest.objects.exists()
    assert worker.alive
    assert {
        holdfast.state(scene.thread).values["notes"][-1] for scene in (at_boundary, rolled_back, displaced)
    } == {"after.1"}


def test_r14_a_run_that_does_not_come_to_a_boundary_is_taken_from_its_executor(stage: Stage) -> None:
    """Past GRACE the token goes, and the follower begins; past another one the stuck process exits."""
    worker = stage.worker(concurrency=2, holdfast={**SETTINGS, "GRACE": 1.0})
    stuck = Scene(stage, "stuck")
    child = stuck.log.lines()[-1][1]
    holdfast.cancel(stuck.run.id)
    ended = stuck.ends("cancelled", keeps=["stuck>", "stuck.0"])
    assert ended.error is not None
    assert "while it was executed" in ended.error["message"]
    until(lambda: child not in worker.children and len(worker.children) == 2, 60, "the child was replaced")
    assert worker.alive

    late = Scene(stage, "late")
    RunRow.objects.filter(id=late.run.id).update(deadline=late.run.created_at)
    child = late.log.lines()[-1][1]
    ended = late.ends("failed", keeps=["late>", "late.0"])
    assert ended.error is not None
    assert ended.error["type"] == "DeadlineExceeded"
    until(lambda: child not in worker.children and len(worker.children) == 2, 60, "the child was replaced")
    last = holdfast.enqueue("journal", page("last"))
    assert holdfast.wait(last.id, timeout=60).status == "succeeded"


@pytest.mark.parametrize("state", ["queued", "later", "interrupted"])
def test_r8_a_deadline_ends_a_run_that_nobody_executes(stage: Stage, state: str) -> None:
    from holdfast.persistence import ledger
    from holdfast.testing import run_now

    run = holdfast.enqueue(
        "journal",
        page("a", ask_at=0),
        thread_id="t",
        deadline=3600,
        run_after=1800 if state == "later" else None,
    )
    following = holdfast.enqueue("journal", page("b"), thread_id="t")
    if state == "interrupted":
        run_now(run)
    assert ledger.sweep_deadlines() == []
    assert run.deadline is not None
    RunRow.objects.filter(id=run.id).update(deadline=run.created_at)
    assert run_now(run).status in {"queued", "interrupted"}, "past its deadline it is not claimed"
    assert [ended.id for ended in ledger.sweep_deadlines()] == [run.id]
    ended = holdfast.get(run.id)
    assert (ended.status, ended.questions) == ("failed", ())
    assert run_now(following).status == "succeeded"
