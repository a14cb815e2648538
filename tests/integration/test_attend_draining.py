"""R13: what a process that was told to go does with a bell that it has taken already."""

from __future__ import annotations

import pytest

import holdfast
from holdfast.persistence.models import RunRow
from holdfast.persistence.records import Bell
from holdfast.runner.runs import attend as station
from holdfast.runner.runs.process import Process
from tests.integration.lifecycle import bells

__all__ = ["bells"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    made = Process()
    monkeypatch.setattr(station, "here", lambda: made)
    return made


def test_r13_a_bell_in_a_draining_process_is_passed_on_and_claims_nothing(
    process: Process, bells: list[Bell]
) -> None:
    run = holdfast.enqueue("long_steps", {"steps": 1})
    process.drain()
    bells.clear()
    assert station.attend(run.id) is None
    assert [bell.run_id for bell in bells] == [run.id]
    assert (holdfast.get(run.id).status, holdfast.get(run.id).deliveries) == ("queued", 0)


def test_r13_a_process_told_to_go_while_the_bell_waits_to_be_admitted_claims_nothing(
    process: Process, bells: list[Bell], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = holdfast.enqueue("long_steps", {"steps": 1})
    process.beating = True
    bells.clear()

    def beat(*, age: float, timeout: float) -> bool:
        process.drain()
        return True

    monkeypatch.setattr(process, "wait_for_beat", beat)
    assert station.attend(run.id) is None
    assert [bell.run_id for bell in bells] == [run.id]
    assert holdfast.get(run.id).deliveries == 0


@pytest.mark.parametrize("status", ["running", "succeeded", "interrupted"])
def test_r13_a_bell_of_a_run_that_is_not_queued_ends_there(
    process: Process, bells: list[Bell], status: str
) -> None:
    run = holdfast.enqueue("long_steps", {"steps": 1})
    RunRow.objects.filter(id=run.id).update(status=status)
    process.drain()
    bells.clear()
    assert station.attend(run.id) is None
    RunRow.objects.filter(id=run.id).delete()
    assert station.attend(run.id) is None
    assert bells == []


def test_p1_a_worker_that_does_not_know_a_graph_leaves_its_run_to_others_and_says_so(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    run = holdfast.enqueue("long_steps", {"steps": 1})
    RunRow.objects.filter(id=run.id).update(graph="written-later")
    assert station.attend(run.id) is None
    assert (holdfast.get(run.id).status, holdfast.get(run.id).deliveries) == ("queued", 0)
    assert "knows no graph 'written-later'" in caplog.text
