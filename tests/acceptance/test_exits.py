"""Nodes that exit fail their runs; processes that are told to go give theirs back (P7, P9)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import holdfast
from holdfast.persistence.models import RunStatus
from tests.acceptance.asking import stubborn as stubborn  # registers its graphs here too
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_p9_runs_that_exit_fail_once_and_their_worker_goes_on(
    stage: Stage, pool: str, tmp_path: Path
) -> None:
    worker = stage.worker(pool=pool, concurrency=1)
    children = worker.children
    log = tmp_path / "log"
    for graph in ("stubborn.exit", "stubborn.async_exit"):
        log.write_text("")
        run = holdfast.wait(holdfast.enqueue(graph, {"log": str(log)}).id, timeout=30)
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert run.error["type"] == "SystemExit"
        assert len(log.read_text().split()) == 1
    healthy = holdfast.wait(holdfast.enqueue("long_steps", {"steps": 2}).id, timeout=30)
    assert healthy.status is RunStatus.SUCCEEDED
    assert worker.children == children


def test_p7_sigterm_to_every_process_of_a_worker_is_no_crash(stage: Stage, tmp_path: Path) -> None:
    """As a service manager ends a control group: the children are told by it too, in the middle of a node."""
    log, gate = tmp_path / "log", tmp_path / "gate"
    run = holdfast.enqueue("stubborn.patient", {"log": str(log), "gate": str(gate)})
    for executed in (1, 2, 3, 4):
        worker = stage.worker(concurrency=1)
        until(
            lambda executed=executed: log.exists() and len(log.read_text().split()) == executed,
            30,
            "it executes",
        )
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait_end()
        assert holdfast.get(run.id).crashes == 0
    stage.worker(concurrency=1)
    gate.touch()
    ended = holdfast.wait(run.id, timeout=30)
    assert ended.status is RunStatus.SUCCEEDED
    assert ended.crashes == 0
