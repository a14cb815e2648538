"""R12: a run that died twice gets its turn to execute alone, however long its neighbours' runs go on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connections

import holdfast
from holdfast.persistence.ids import RunId
from holdfast.persistence.models import RunRow, RunStatus
from holdfast.persistence.records import Bell, Run
from holdfast.runner.runs import attend as station
from holdfast.runner.runs import claim
from holdfast.runner.runs.process import Process
from tests.acceptance.execution_log import ExecutionLog
from tests.acceptance.waiting import until
from tests.integration.lifecycle import bells

__all__ = ["bells"]
pytestmark = pytest.mark.django_db(transaction=True)

ENDLESS = 100_000
"""Steps: more than anybody waits for."""


def attend_to(run_id: RunId) -> Run | None:
    """On a thread of its own."""
    try:
        return station.attend(run_id)
    finally:
        connections.close_all()


def test_r12_p7_endless_neighbours_are_handed_over_and_the_lone_run_gets_its_turn(
    bells: list[Bell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process()
    monkeypatch.setattr(station, "here", lambda: process)
    monkeypatch.setattr(claim, "PATIENCE", 0.3)
    logs = [ExecutionLog(tmp_path / f"{number}.log") for number in range(2)]
    neighbours = [
        holdfast.enqueue("long_steps", {"steps": ENDLESS, "seconds": 0.01, "log": str(log)}) for log in logs
    ]
    lone = holdfast.enqueue("long_steps", {"steps": 2, "log": str(tmp_path / "lone.log")})
    RunRow.objects.filter(id=lone.id).update(crashes=2)
    with ThreadPoolExecutor(3) as pool:
        beside = [pool.submit(attend_to, run.id) for run in neighbours]
        try:
            until(lambda: all(log.ended() for log in logs), 30, "the neighbours execute")
            bells.clear()
            ended = pool.submit(attend_to, lone.id).result(30)
        finally:
            process.drain()  # else they would execute for ever, if the test fails
        assert ended is not None
        assert ended.status is RunStatus.SUCCEEDED
        for future in beside:
            future.result(30)
    alone_since = (tmp_path / "lone.log").stat().st_mtime
    for run, log in zip(neighbours, logs, strict=True):
        now = holdfast.get(run.id)
        assert (now.status, now.deliveries, now.crashes) == (RunStatus.QUEUED, 1, 0)
        assert log.path.stat().st_mtime <= alone_since
        assert log.begun() == log.ended(), "handed over between two steps"
    assert {bell.run_id for bell in bells} >= {run.id for run in neighbours}
