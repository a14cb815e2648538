"""P3, R5, R12: what holds on Django's database holds, but for P2's last moment, wherever else checkpoints are kept."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.persistence.backends import close_backends
from holdfast.persistence.models import Checkpoint
from tests.acceptance.databases import Database, new_name
from tests.acceptance.journal.pages import Log, notes, page
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage
from tests.integration.backend_servers import SERVERS

QUICK: dict[str, Any] = {"BELL_IDLE": 0.5, "LEASE": 6.0, "IDLE_IN_TRANSACTION": 3.0}

FAULTS = (
    "checkpoint-before-commit",
    "backend-before-note",  # the input's checkpoint is there, and nothing here tells
    "checkpoint-after-commit",
    "checkpoint-before-commit:2",
    "backend-before-note:3",
    "writes-before-commit:2",
    "writes-after-commit:2",
    "checkpoint-after-commit:5",  # the last one is there, the run is not settled
    "settle-before-commit",
)


@pytest.fixture(params=["sqlite", "postgresql", "redis", "mongodb"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path, settings: Any) -> Iterator[dict[str, Any]]:
    """The settings of a backend that is empty, also those of this process."""
    if request.param == "sqlite":
        found, database = f"sqlite:///{tmp_path}/checkpoints.db", None
    elif request.param in SERVERS:
        found, database = SERVERS[request.param](), None
    else:
        database = Database().create(new_name("elsewhere"))
        password = f":{database.password}" if database.password else ""
        found = f"postgresql://{database.user}{password}@{database.host}:{database.port}/{database.name}"
    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": found, "STORE": found}
    yield {**QUICK, "CHECKPOINTER": found, "STORE": found}
    close_backends()
    if database is not None:
        database.drop()


def _fault(text: str) -> str:
    point, _, passing = text.partition(":")
    return f"{point}=kill" + (f":{passing}" if passing else "")


def test_r5_p3_an_input_is_applied_once_whatever_its_process_dies_of(
    stage: Stage, elsewhere: dict[str, Any]
) -> None:
    log = Log(stage.directory)
    doomed = [
        (_fault(text), holdfast.enqueue("journal", page(f"a{number}", log=str(log)), thread_id=f"t{number}"))
        for number, text in enumerate(FAULTS)
    ]
    stage.broker.lose_everything()
    arguments = [(fault, str(run.id)) for fault, run in doomed]
    done = stage.script(
        f"from tests.acceptance.attending import attend_and_die\nattend_and_die({arguments!r})\n",
        timeout=120,
        holdfast=elsewhere,
    )
    assert done.stdout.splitlines() == [f"{fault} -9" for fault, _ in doomed], done.stdout + done.stderr

    stage.worker(holdfast=elsewhere)
    for number, (fault, run) in enumerate(doomed):
        ended = holdfast.wait(run.id, timeout=60)
        assert (ended.status, ended.error) == ("succeeded", None), fault
        assert ended.result["notes"] == notes(f"a{number}"), fault
        assert (ended.deliveries, holdfast.state(run.thread_id).values) == (2, ended.result), fault
    finished = log.counts()
    assert {finished[f"a7.{step}"] for step in (0, 1)} == {1}
    assert not Checkpoint.objects.exists()


def test_p8_p9_a_run_that_moves_on_outlives_any_number_of_workers(
    stage: Stage, elsewhere: dict[str, Any]
) -> None:
    """It dies oftener than ``max_crashes`` allows at one place, and never twice at one."""
    stage.worker(holdfast=elsewhere, concurrency=1)
    log = Log(stage.directory)
    run = holdfast.enqueue("journal", page("a", 6, log=str(log), seconds=0.6), thread_id="long")
    for step in range(5):
        name = f"a.{step}"
        until(partial(_begun, log, name), 30, f"{name} has begun")
        os.kill(next(pid for each, pid in log.lines() if each == name), signal.SIGKILL)
    ended = holdfast.wait(run.id, timeout=60)
    assert ended.status == "succeeded", ended.error
    assert ended.result["notes"] == notes("a", 6)
    assert ended.deliveries == 6


def _begun(log: Log, name: str) -> bool:
    return log.counts()[name] > 0


def test_a_worker_of_several_processes_does_not_begin_with_a_memory_of_each(stage: Stage) -> None:
    worker = stage.worker(holdfast={"CHECKPOINTER": "memory://"}, wait=False)
    assert worker.wait_end() != 0
    assert "CHECKPOINTER is memory://" in worker.text
    assert "--pool solo" in worker.text
    run = holdfast.enqueue("journal", page("a"))
    stage.worker(holdfast={"CHECKPOINTER": "memory://"}, pool="threads")
    assert holdfast.wait(run.id, timeout=30).result["notes"] == notes("a")
