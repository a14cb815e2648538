"""P3: in a fan-out wider than may execute at once, a kill repeats no sibling that had finished."""

from __future__ import annotations

from collections import Counter

import pytest

import holdfast
from tests.acceptance.asking import fans as fans  # registers its graphs here, too
from tests.acceptance.execution_log import ExecutionLog
from tests.acceptance.trials import PATIENCE
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage

WIDTH = 6
AT_ONCE = 2


@pytest.mark.parametrize("graph", ["fan", "fan_async"])
def test_p3_a_sibling_that_finished_while_others_had_not_begun_is_not_executed_again(
    stage: Stage, execution_log: ExecutionLog, graph: str
) -> None:
    gate = stage.directory / "gate"
    worker = stage.worker(concurrency=1)
    value = {"width": WIDTH, "log": str(execution_log), "gate": str(gate)}
    run = holdfast.enqueue(graph, value, config={"max_concurrency": AT_ONCE})

    # The first has given its place to another: from here on its writes wait for nobody, or for all the others.
    until(
        lambda: set(execution_log.in_flight()) == {(0, 1), (0, 2)} and execution_log.ended()[0, 0] == 1,
        PATIENCE,
        "both places are taken by siblings that wait",
    )
    until(lambda: _stored(stage, run.thread_id) == 1, 10, "the finished sibling's writes are stored")
    worker.kill()

    gate.touch()
    stage.worker(concurrency=1)
    ended = holdfast.wait(run.id, timeout=PATIENCE)
    assert ended.status == "succeeded", ended.error
    assert sorted(ended.result["done"]) == list(range(WIDTH))
    once, twice = dict.fromkeys([0, 3, 4, 5], 1), dict.fromkeys([1, 2], 2)
    assert Counter(index for _, index in execution_log.begun().elements()) == Counter(once | twice)


def _stored(stage: Stage, thread_id: str) -> int:
    with stage.database.connect() as connection:
        row = connection.execute(
            "SELECT count(*) FROM checkpoint_writes WHERE thread_id = %s AND channel = 'done'", [thread_id]
        ).fetchone()
        return int(row[0]) if row else 0
