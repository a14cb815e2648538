"""Flower shows each delivery of a run as a task called after its graph, and nothing of the run's input."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

import holdfast
from holdfast.persistence import ledger
from holdfast.runner import dispatch
from tests.acceptance.databases import ROOT
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage

LOGIN = "watcher:a-password-of-this-test"


@pytest.fixture
def flower(stage: Stage) -> Iterator[str]:
    """Flower's address, on the stage's broker."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = stage.environment(extra={"FLOWER_BASIC_AUTH": LOGIN})
    command = ["-m", "holdfast.runner.site.flower", "-A", "tests.acceptance.site.celery:app", "flower"]
    command += ["--address=127.0.0.1"]
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


def _read(address: str) -> bytes:
    request = Request(address, headers={"Authorization": f"Basic {b64encode(LOGIN.encode()).decode()}"})
    with urlopen(request, timeout=10) as answer:
        return bytes(answer.read())


def _tasks(address: str) -> dict[str, dict[str, object]]:
    return dict(json.loads(_read(f"{address}/api/tasks")))


def _over(address: str, task: str) -> bool:
    return _tasks(address).get(task, {}).get("state") == "SUCCESS"


def test_a_delivery_is_shown_under_its_graph_with_run_and_thread(stage: Stage, flower: str) -> None:
    stage.worker(arguments=("-E",))
    secret = "the-password-is-swordfish"
    run = holdfast.enqueue("approval", {"request": secret, "amount": 900.0}, thread_id="order-17")
    assert holdfast.wait(run.id, timeout=60).status == "interrupted"
    until(lambda: _over(flower, f"{run.id}.1"), 60, "the task has arrived")
    shown = _tasks(flower)[f"{run.id}.1"]
    assert shown["name"] == "graph:approval"
    assert shown["args"] == f"<run={run.id} thread=order-17>"
    assert secret not in json.dumps(_tasks(flower))

    holdfast.resume(run.id, True)
    assert holdfast.wait(run.id, timeout=60).status == "succeeded"
    until(lambda: _over(flower, f"{run.id}.2"), 60, "the second delivery has arrived")
    assert _tasks(flower)[f"{run.id}.2"]["result"] == "'succeeded'"


def test_a_delivery_tells_what_came_of_it_where_celery_calls_all_of_them_a_success(
    stage: Stage, flower: str
) -> None:
    worker = stage.worker(arguments=("-E",))
    asks = holdfast.enqueue("approval", {"request": "a boat", "amount": 900.0})
    holdfast.wait(asks.id, timeout=60)
    assert dispatch.ring(ledger.bell(holdfast.get(asks.id)))
    long = holdfast.enqueue("long_steps", {"steps": 200, "seconds": 0.1})
    until(lambda: holdfast.get(long.id).started_at is not None, 60, "the long run is executed")
    cut = holdfast.enqueue("long_steps", {"steps": 200, "seconds": 0.1})
    until(lambda: holdfast.get(cut.id).started_at is not None, 60, "the run to be cancelled is executed")
    holdfast.cancel(cut.id)
    assert holdfast.wait(cut.id, timeout=60).status == "cancelled"
    worker.term()
    for task, outcome in (
        (f"{asks.id}.1", "interrupted"),
        (f"{asks.id}.2", "left alone"),
        (f"{cut.id}.1", "cancelled"),
        (f"{long.id}.1", "handed over"),
    ):
        until(partial(_over, flower, task), 60, f"the task {task} is over")
        assert _tasks(flower)[task]["result"] == repr(outcome)


def test_nothing_but_the_health_of_flower_is_told_without_a_password(flower: str) -> None:
    for page in ("", "metrics", "workers", "tasks", "api/tasks", "api/workers"):
        with pytest.raises(HTTPError) as refused:
            urlopen(f"{flower}/{page}", timeout=10)
        with refused.value as answer:
            assert answer.code == 401, page
    assert b"python_info" in _read(f"{flower}/metrics")
