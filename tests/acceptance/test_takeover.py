"""P3, P8: a killed worker's run goes on elsewhere, and what finished does not run again."""

from __future__ import annotations

import holdfast
from holdfast.persistence.models import RunStatus
from tests.acceptance.execution_log import ExecutionLog
from tests.acceptance.workers import Stage


def test_p8_a_run_is_enqueued_executed_and_settled(stage: Stage, execution_log: ExecutionLog) -> None:
    stage.worker()
    run = holdfast.enqueue("long_steps", {"steps": 3, "seconds": 0.01, "log": str(execution_log.path)})
    assert holdfast.wait(run.id, timeout=20).status is RunStatus.SUCCEEDED
