"""P1, P13, R5, R14: who asks for something dies beside its commit: it has been asked whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import holdfast
from holdfast.persistence.models import CancelRequest, Entry, RunRow
from holdfast.testing import run_now
from tests.acceptance.brokers import Broker
from tests.acceptance.journal.pages import notes, page
from tests.acceptance.workers import Stage

QUICK = {"BELL_IDLE": 0.5}


def asking(name: str) -> holdfast.Run:
    run = run_now(holdfast.enqueue("journal", page(name, ask_at=1), thread_id=name))
    assert run.status == "interrupted"
    return run


def failed(name: str) -> holdfast.Run:
    run = run_now(holdfast.enqueue("journal", page(name, fail_unless=f"/nowhere/{name}"), thread_id=name))
    assert run.status == "failed"
    return run


Case = tuple[str, Callable[[str], holdfast.Run], str]
ANSWER: Case = ("resume", asking, "holdfast.resume({run!r}, 'yes')")
UPDATE: Case = ("update", asking, "holdfast.update_state({thread!r}, dict(notes=['edited']))")
CANCEL: Case = ("cancel", asking, "holdfast.cancel({run!r}, rollback=True)")
ROLLBACK: Case = ("rollback", asking, "holdfast.cancel({run!r}, rollback=True)")
RETRY: Case = ("retry", failed, "holdfast.retry({run!r})")


def ask_and_die(stage: Stage, case: Case, when: str, thread: str = "") -> holdfast.Run:
    """The run, after a process that asked for that has died there."""
    name, make, code = case
    run = make(thread or name)
    asked = f"import holdfast\n{code.format(run=str(run.id), thread=run.thread_id)}\n"
    done = stage.script(asked, faults=f"{name}-{when}-commit=kill")
    assert done.returncode == -9, done.stdout + done.stderr
    return run


@pytest.mark.parametrize("case", [ANSWER, UPDATE, RETRY], ids=lambda case: case[0])
def test_p13_before_its_commit_nothing_has_been_asked(stage: Stage, case: Case) -> None:
    run = ask_and_die(stage, case, "before")
    assert holdfast.get(run.id) == run
    values = holdfast.state(run.thread_id).values["notes"]
    assert values == [f"{case[0]}>", f"{case[0]}.0"]
    if run.status == "interrupted":  # it can be answered as if nobody had tried
        holdfast.resume(run.id, "no")
        assert run_now(run).result["notes"][-1] == f"{case[0]}=no"


def test_p1_behind_its_commit_it_is_done_though_nobody_rang(stage: Stage, broker: Broker) -> None:
    outcomes: dict[str, Any] = {
        "resume": ("succeeded", ["resume>", "resume.0", "resume=yes"]),
        "update": ("interrupted", ["update>", "update.0", "edited"]),
        "retry": ("failed", ["retry>", "retry.0"]),
    }
    asked = [ask_and_die(stage, case, "after") for case in (ANSWER, UPDATE, RETRY)]
    assert {holdfast.get(run.id).status for run in asked} == {"queued"}
    broker.lose_everything()  # the bells of enqueue
    stage.worker(holdfast=QUICK)
    for run in asked:
        ended = holdfast.wait(run.id, timeout=60)
        found = (ended.status, holdfast.state(run.thread_id).values["notes"])
        assert found == outcomes[run.thread_id]
        assert ended.deliveries == run.deliveries + 1


def test_r14_whoever_sweeps_ends_what_a_dead_one_began_to_cancel_and_to_undo(
    stage: Stage, broker: Broker
) -> None:
    """The token goes first, then what the run wrote, then the thread is free: it may stop between any two."""
    followers = []
    for case, when, status, undone in (
        (ROLLBACK, "after", "cancelled", True),
        (ROLLBACK, "before", "cancelled", False),  # the next one to roll back would end this one, too
        (CANCEL, "after", "interrupted", False),
    ):
        name = f"{case[0]}-{when}"
        run_now(holdfast.enqueue("journal", page("earlier"), thread_id=name))
        run = ask_and_die(stage, case, when, name)
        row = RunRow.objects.get(id=run.id)
        assert (row.status, row.holds_thread, row.token) == (status, not undone, None)
        assert Entry.objects.filter(run_id=run.id).exists() is not undone
        followers.append((run, holdfast.enqueue("journal", page("following"), thread_id=name)))
    broker.lose_everything()
    stage.worker(holdfast=QUICK)
    for run, following in followers:
        ended = holdfast.wait(following.id, timeout=60)
        assert ended.result["notes"] == notes("earlier") + notes("following")
        assert holdfast.get(run.id).status == "cancelled"
        assert not Entry.objects.filter(run_id=run.id).exists()
    assert not CancelRequest.objects.exists()


def test_a_fork_that_dies_before_its_commit_leaves_no_thread(stage: Stage) -> None:
    run = asking("source")
    holdfast.resume(run.id, "yes")
    run_now(run)
    checkpoint = holdfast.state("source").config["configurable"]["checkpoint_id"]
    code = f"import holdfast\nholdfast.fork('source', {checkpoint!r}, 'branch')\n"
    assert stage.script(code, faults="fork-before-commit=kill").returncode == -9
    assert holdfast.fork("source", checkpoint, "branch") == "branch"
