"""R5, R6: an input is applied exactly once, whichever moment a process dies at."""

from __future__ import annotations

import holdfast
from holdfast.persistence.models import Entry
from holdfast.testing import run_now
from tests.acceptance.journal.pages import Log, notes, page
from tests.acceptance.workers import Stage

QUICK = {"BELL_IDLE": 0.5, "LEASE": 6.0, "IDLE_IN_TRANSACTION": 3.0}


def die(stage: Stage, doomed: list[tuple[str, holdfast.Run]]) -> None:
    """Let a process attend to each run, and die at the fault named."""
    arguments = [(fault, str(run.id)) for fault, run in doomed]
    code = f"from tests.acceptance.attending import attend_and_die\nattend_and_die({arguments!r})\n"
    done = stage.script(code, timeout=120)
    assert done.stdout.splitlines() == [f"{fault} -9" for fault, _ in doomed], done.stdout + done.stderr


BEFORE_ENTERING = ("claim-after-commit", "input-before-first-checkpoint", "checkpoint-before-commit")
ENTERED = (
    "checkpoint-after-commit",  # the input's own
    "checkpoint-before-commit:2",
    "checkpoint-after-commit:2",
    "writes-before-commit:2",
    "writes-after-commit:2",
    "checkpoint-before-commit:5",  # the last one
    "checkpoint-after-commit:5",  # the last one is there, the run is not settled
    "settle-before-commit",
    "settle-after-commit",
)
"""A page of two steps makes five checkpoints: the input, its passing on, begin, and one a step."""


def _fault(text: str) -> str:
    point, _, passing = text.partition(":")
    return f"{point}=kill" + (f":{passing}" if passing else "")


def test_r5_r6_an_input_is_applied_once_whatever_its_process_dies_of(stage: Stage) -> None:
    """On threads with a history, where the thread's newest checkpoint says nothing about the run."""
    faults = [_fault(text) for text in (*BEFORE_ENTERING, *ENTERED)]
    for number, _ in enumerate(faults):
        run_now(holdfast.enqueue("journal", page("earlier"), thread_id=f"t{number}"))
    log = Log(stage.directory)
    doomed = [
        (fault, holdfast.enqueue("journal", page(f"a{number}", log=str(log)), thread_id=f"t{number}"))
        for number, fault in enumerate(faults)
    ]
    stage.broker.lose_everything()
    die(stage, doomed)
    entered = [Entry.objects.filter(run_id=run.id).exists() for _, run in doomed]
    assert entered == [False] * len(BEFORE_ENTERING) + [True] * len(ENTERED)

    stage.worker(holdfast=QUICK)
    for number, (fault, run) in enumerate(doomed):
        ended = holdfast.wait(run.id, timeout=60)
        assert ended.status == "succeeded", (fault, ended.error)
        assert ended.result["notes"] == notes("earlier") + notes(f"a{number}"), fault
        assert ended.deliveries == (1 if fault.startswith("settle-after") else 2), fault
        assert holdfast.state(run.thread_id).values == ended.result
        if fault.startswith(("settle", "checkpoint-after-commit=kill:5")):  # R6: nothing was left to execute
            assert {log.counts()[f"a{number}.{step}"] for step in (0, 1)} == {1}, fault


def test_r5_a_process_that_dies_after_an_update_of_state_applies_the_input_once(stage: Stage) -> None:
    """``update_state`` leaves a newest checkpoint that the run's own execution did not make."""
    points = ("claim-after-commit=kill", "writes-before-commit=kill", "settle-before-commit=kill")
    asking = [run_now(holdfast.enqueue("journal", page(f"r{i}", ask_at=1))) for i, _ in enumerate(points)]
    for run in asking:
        assert run.status == "interrupted"
        holdfast.update_state(run.thread_id, {"notes": ["edited"]})
    stage.broker.lose_everything()
    die(stage, list(zip(points, asking, strict=True)))
    stage.worker(holdfast=QUICK)
    for number, run in enumerate(asking):
        waiting = holdfast.wait(run.id, timeout=60)
        assert (waiting.status, len(waiting.questions)) == ("interrupted", 1), waiting.error
        holdfast.resume(run.id, "yes")
        ended = holdfast.wait(run.id, timeout=60)
        assert ended.status == "succeeded", ended.error
        name = f"r{number}"
        assert ended.result["notes"] == [f"{name}>", f"{name}.0", "edited", f"{name}=yes"]
