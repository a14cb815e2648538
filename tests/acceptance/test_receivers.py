"""R11, P1, P2: a receiver of run_settled that never comes back, frozen or slow, holds nobody up but its own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import holdfast
from holdfast.persistence.models import RunRow, RunStatus, Step
from tests.acceptance.journal.pages import notes, page
from tests.acceptance.trials import PATIENCE, take_overs
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage

SHORT: dict[str, Any] = {"LEASE": 6.0, "IDLE_IN_TRANSACTION": 2.0}


def heard(log: Path) -> list[list[str]]:
    """Run, status and process id of each call of a receiver."""
    return [line.split() for line in log.read_text("utf-8").splitlines()] if log.exists() else []


def test_p2_r11_a_process_that_is_stopped_in_a_receiver_holds_nobody_up_and_writes_nothing_later(
    stage: Stage, tmp_path: Path
) -> None:
    log, gate = tmp_path / "heard", tmp_path / "gate"
    gate.touch()
    extra = {"SETTLED_LOG": str(log)}
    old = stage.worker(concurrency=1, holdfast=SHORT, extra={**extra, "SETTLED_GATE": str(gate)})
    run = holdfast.enqueue("journal", page("a"), thread_id="t")
    until(lambda: heard(log), PATIENCE, "the receiver is called")
    after = holdfast.enqueue("journal", page("b"), thread_id="t")
    old.stop()

    new = stage.worker(concurrency=1, holdfast=SHORT, extra=extra)
    elsewhere = holdfast.enqueue("journal", page("c"))
    assert holdfast.wait(elsewhere.id, timeout=PATIENCE).status is RunStatus.SUCCEEDED
    ended = holdfast.wait(run.id, timeout=PATIENCE)
    assert (ended.status, ended.deliveries, ended.crashes) == (RunStatus.SUCCEEDED, 2, 1)
    assert ended.result["notes"] == notes("a")
    assert [each.cause for each in take_overs(new)] == ["lease expired"]
    assert holdfast.wait(after.id, timeout=PATIENCE).status is RunStatus.SUCCEEDED

    gate.unlink()
    old.cont()
    until(
        lambda: "HOLDFAST['IDLE_IN_TRANSACTION']" in old.text, PATIENCE, "it is told why it could not go on"
    )
    told = Step.objects.filter(run_id=run.id, node="heard").values_list("owner", flat=True)
    assert list(told) == [str(new.children[0])], (
        "what the stopped one wrote was rolled back with its settling"
    )


def test_p1_r3_a_receiver_that_is_too_slow_each_time_is_named_and_does_not_repeat_for_ever(
    stage: Stage, tmp_path: Path
) -> None:
    log = tmp_path / "heard"
    slow = {"SETTLED_LOG": str(log), "SETTLED_SECONDS": "3"}
    worker = stage.worker(pool="threads", concurrency=2, holdfast=SHORT, extra=slow)
    run = holdfast.enqueue("journal", page("a"))
    RunRow.objects.filter(id=run.id).update(max_crashes=2)
    ended = holdfast.wait(run.id, timeout=PATIENCE)
    assert (ended.status, ended.deliveries) == (RunStatus.FAILED, 2)
    assert len(heard(log)) == 2, "once for each attempt"
    assert "A receiver of run_settled left settle's transaction idle for more than 2 s" in worker.text
    assert not Step.objects.filter(run_id=run.id, node="heard").exists()
