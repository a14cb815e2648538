"""R15: who was claimed before does not stand behind a backlog of runs that were not, on all three brokers."""

from __future__ import annotations

import holdfast
from holdfast.persistence.models import RunRow
from tests.acceptance.brokers import Broker, every_broker
from tests.acceptance.journal.pages import Gate, Log, page
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage

BACKLOG = 100
BEFORE = 10
"""Of the backlog: those whose bells a worker takes in turn with the answer's."""
BELLS_ONLY = {"BELL_IDLE": 3000.0, "BELL_BUSY": 3000.0}
"""The sweep rings for nobody: what is heard is what was sent."""


@every_broker
def test_r15_an_answered_run_goes_on_before_the_backlog(stage: Stage, broker: Broker) -> None:
    stage.worker(concurrency=1, holdfast=BELLS_ONLY)
    asking = holdfast.enqueue("journal", page("asks", ask_at=1))
    assert holdfast.wait(asking.id, timeout=60).status == "interrupted"
    gate, log = Gate(stage.directory), Log(stage.directory)
    busy = holdfast.enqueue("journal", page("busy", gate=str(gate), log=str(log)))
    until(log.counts, 60, "the only child is busy")
    backlog = holdfast.enqueue_many(
        [{"graph": "journal", "input": page(f"r{number}")} for number in range(BACKLOG)]
    )
    holdfast.resume(asking.id, "yes")
    gate.open()
    answered = holdfast.wait(asking.id, timeout=60)
    assert answered.result["notes"][-1] == "asks=yes"
    assert holdfast.wait(busy.id, timeout=60).status == "succeeded"
    ended_before = RunRow.objects.filter(
        id__in=[run.id for run in backlog], finished_at__lt=answered.finished_at
    )
    assert ended_before.count() <= BEFORE
