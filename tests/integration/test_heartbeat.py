"""R8: nothing keeps the heartbeat from beating, not what a project hangs on the signals either."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

import holdfast
from holdfast.persistence.models import Incarnation, RunRow, RunStatus
from holdfast.persistence.records import Run
from holdfast.runner.runs import process
from holdfast.runner.runs.heartbeat import Heartbeat
from holdfast.runner.signals import run_ended_by_sweep
from tests.acceptance.journal.pages import page
from tests.acceptance.waiting import until
from tests.integration.lifecycle import bells

__all__ = ["bells"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("bells")]


@pytest.fixture
def beating() -> Iterator[process.Process]:
    here = process.Process()
    heartbeat = Heartbeat(here)
    heartbeat.start()
    yield here
    heartbeat.stop()


@pytest.mark.parametrize("problem", [None, ValueError(), SystemExit()], ids=["slow", "raises", "exits"])
def test_r8_a_receiver_keeps_no_lease_from_being_renewed(
    beating: process.Process, problem: BaseException | None
) -> None:
    called, let_go = threading.Event(), threading.Event()

    def receiver(run: Run, **_: Any) -> None:
        called.set()
        let_go.wait(30)
        if problem is not None:
            raise problem

    run_ended_by_sweep.connect(receiver)
    try:
        run = holdfast.enqueue("journal", page("late"), run_after=3600)
        RunRow.objects.filter(id=run.id).update(deadline=timezone.now())
        assert called.wait(30), "the receiver is told"
        assert holdfast.get(run.id).status is RunStatus.FAILED
        for _ in range(2):
            last = beating.last_beat
            until(lambda last=last: beating.last_beat > last, 10, "it beats")
    finally:
        let_go.set()
        run_ended_by_sweep.disconnect(receiver)
    last = beating.last_beat
    until(lambda: beating.last_beat > last, 10, "it beats afterwards")


def test_a_database_without_tables_is_told_once_with_what_to_do(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE holdfast_incarnation RENAME TO holdfast_incarnation_away")
    here = process.Process()
    heartbeat = Heartbeat(here)
    try:
        monkeypatch.setattr(heartbeat, "_last_sweep", 0.0)
        for _ in range(2):
            heartbeat._guarded(heartbeat._sweep)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE holdfast_incarnation_away RENAME TO holdfast_incarnation")
    (told,) = (record for record in caplog.records if "tables" in record.getMessage())
    assert "Run: manage.py migrate" in told.getMessage()
    assert told.exc_info is None


def test_p9_a_damaged_row_of_one_run_does_not_end_the_process_that_sweeps_it(
    beating: process.Process,
) -> None:
    until(Incarnation.objects.exists, 10, "it sweeps")
    run = holdfast.enqueue("journal", page("damaged"))
    now, gone = timezone.now(), 2**31 - 1
    RunRow.objects.filter(id=run.id).update(
        status="running",
        holds_thread=True,
        token=uuid4(),
        renewed_at=now,
        session_pid=gone,
        session_start=now,
        questions=[{"asked": "by hand"}],
    )
    until(lambda: RunRow.objects.get(id=run.id).status == "queued", 10, "it is swept")
    last = beating.last_beat
    until(lambda: beating.last_beat > last, 10, "the process beats on")
    RunRow.objects.filter(id=run.id).update(deadline=now)
    until(lambda: RunRow.objects.get(id=run.id).status == "failed", 10, "and sweeps on")
