"""Flower shows each delivery of a run as a task called after its graph, and nothing of the run's input."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from urllib.error import URLError
from urllib.request import urlopen

import pytest

import holdfast
from tests.acceptance.databases import ROOT
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage


@pytest.fixture
def flower(stage: Stage) -> Iterator[str]:
    """Flower's address, on the stage's broker."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = stage.environment(extra={"FLOWER_UNAUTHENTICATED_API": "true"})
    command = ["-m", "celery", "-A", "tests.acceptance.site.celery:app", "flower", "--address=127.0.0.1"]
    with (stage.directory / "flower.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, f"--port={port}"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(address), 60, "Flower answers")
        yield address
    finally:
        process.kill()
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/healthcheck", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _tasks(address: str) -> dict[str, dict[str, object]]:
    with urlopen(f"{address}/api/tasks", timeout=10) as answer:
        return dict(json.load(answer))


def test_a_delivery_is_shown_under_its_graph_with_run_and_thread(stage: Stage, flower: str) -> None:
    stage.worker(arguments=("-E",))
    secret = "the-password-is-swordfish"
    run = holdfast.enqueue("approval", {"request": secret, "amount": 900.0}, thread_id="order-17")
    assert holdfast.wait(run.id, timeout=60).status == "interrupted"
    until(lambda: _tasks(flower).get(f"{run.id}.1", {}).get("state") == "SUCCESS", 60, "the task has arrived")
    shown = _tasks(flower)[f"{run.id}.1"]
    assert shown["name"] == "graph:approval"
    assert shown["args"] == f"<run={run.id} thread=order-17>"
    assert secret not in json.dumps(_tasks(flower))

    holdfast.resume(run.id, True)
    assert holdfast.wait(run.id, timeout=60).status == "succeeded"
    until(lambda: f"{run.id}.2" in _tasks(flower), 60, "the second delivery has arrived")
