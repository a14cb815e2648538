"""One run from end to end, on each broker and in each pool: enqueued, executed, settled."""

from __future__ import annotations

import pytest

import holdfast
from tests.acceptance.brokers import every_broker
from tests.acceptance.execution_log import ExecutionLog
from tests.acceptance.workers import Stage


@every_broker
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_p1_an_enqueued_run_is_executed(stage: Stage, execution_log: ExecutionLog, pool: str) -> None:
    stage.worker(pool=pool)
    run = holdfast.enqueue("long_steps", {"steps": 3, "log": str(execution_log)})
    ended = holdfast.wait(run.id, timeout=20)
    assert ended.status == "succeeded", ended.error
    assert ended.result["done"] == ["0.0", "1.0", "2.0"]
    assert execution_log.repeated() == []
