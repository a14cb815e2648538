"""P9, R12: a run that dies without getting further is set aside; one that moves on may die as often as it likes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connections

import holdfast
from holdfast.persistence.ids import RunId
from holdfast.persistence.models import RunRow, RunStatus
from holdfast.runner.runs import process
from holdfast.runner.runs.attend import attend
from holdfast.runner.runs.heartbeat import Heartbeat
from tests.acceptance.asking.deaths import EXIT_CODE, MOVING, PLACES, POISONED
from tests.acceptance.asking_driver import Mortal, silence, take_lost_leases
from tests.acceptance.execution_log import ExecutionLog
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage

FAST = {"HEARTBEAT": 0.2, "SWEEP": 0.25, "SESSION_GONE": 0.6}
"""Deaths are noticed sooner; what they mean is the same."""


@pytest.fixture
def no_bells(stage: Stage) -> Iterator[None]:
    with silence():
        yield


@pytest.mark.usefixtures("no_bells")
@pytest.mark.parametrize("graph", sorted(POISONED))
def test_p9_a_poison_run_is_set_aside_after_three_deaths_wherever_it_dies(graph: str, tmp_path: Path) -> None:
    mortal = Mortal(graph, {"places": str(tmp_path), "been": []})
    if graph == "dying.after_an_answer":
        mortal.attend()
        holdfast.resume(mortal.run_id, "to the end")
    # Each sibling of the poison, and each task before it, may still get its own result stored, once, which
    # is progress: an entrypoint goes on with a task's result before that is durable.
    siblings = {"dying.beside_a_question": 2, "dying.entrypoint": 5}.get(graph, 0)
    deaths = 0
    while not mortal.run.status.ended:
        assert mortal.attend() == EXIT_CODE
        take_lost_leases()
        deaths += 1
    assert 3 <= deaths <= 3 + siblings
    assert mortal.run.status is RunStatus.FAILED
    assert mortal.run.crashes == 3
    assert mortal.run.error is not None
    assert mortal.run.error["type"] == "WorkerDied"
    assert "died 3 times without getting further" in mortal.run.error["message"]


@pytest.mark.usefixtures("no_bells")
@pytest.mark.parametrize("graph", sorted(MOVING))
def test_p9_a_run_that_moves_on_is_never_set_aside(graph: str, tmp_path: Path) -> None:
    mortal = Mortal(graph, {"places": str(tmp_path), "been": []})
    for _ in range(PLACES):
        assert mortal.attend() == EXIT_CODE
        take_lost_leases()
        assert mortal.run.crashes == 1
    assert mortal.attend() == 0
    assert mortal.run.status is RunStatus.SUCCEEDED, mortal.run.error
    assert mortal.run.result["been"] == list(range(PLACES))
    assert mortal.run.deliveries == PLACES + 1


@pytest.mark.usefixtures("no_bells")
def test_r12_a_neighbour_is_let_in_once_the_lone_run_has_moved_on(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    lone = holdfast.enqueue("gates", {"gate": str(gate)})
    neighbour = holdfast.enqueue("long_steps", {"steps": 1})
    RunRow.objects.filter(id=lone.id).update(crashes=2)
    process.here.start_afresh()
    heartbeat = Heartbeat(process.here())
    heartbeat.start()

    def attend_to(run_id: RunId) -> None:
        try:
            attend(run_id)
        finally:
            connections.close_all()

    try:
        with ThreadPoolExecutor(2) as pool:
            alone = pool.submit(attend_to, lone.id)
            until(lambda: holdfast.get(lone.id).status is RunStatus.RUNNING, 30, "it executes alone")
            beside = pool.submit(attend_to, neighbour.id)
            gate.touch()
            beside.result(30)
            assert holdfast.get(neighbour.id).status is RunStatus.SUCCEEDED
            assert holdfast.get(lone.id).status is RunStatus.RUNNING
            (tmp_path / "gate.2").touch()
            alone.result(30)
    finally:
        heartbeat.stop()
        process.here.start_afresh()
    assert holdfast.get(lone.id).status is RunStatus.SUCCEEDED


def test_p9_ten_deaths_in_a_prefork_pool_with_progress_between_them(stage: Stage, tmp_path: Path) -> None:
    worker = stage.worker(concurrency=3, holdfast=FAST)
    runs = []
    for graph in ("moving.steps", "moving.entrypoint"):
        places = tmp_path / graph
        places.mkdir()
        runs.append(holdfast.enqueue(graph, {"places": str(places), "been": []}))
    for run in runs:
        ended = holdfast.wait(run.id, timeout=120)
        assert ended.status is RunStatus.SUCCEEDED, ended.error
        assert ended.result["been"] == list(range(PLACES))
        assert ended.deliveries == PLACES + 1
        assert ended.crashes == 1
    assert worker.alive


def test_p9_a_poison_run_takes_no_neighbour_with_it(stage: Stage, tmp_path: Path) -> None:
    """Four threads of one process: the poison, two runs of many short steps, one of a single long step."""
    short = [ExecutionLog(tmp_path / f"short{i}.log") for i in range(2)]
    long = ExecutionLog(tmp_path / "long.log")
    steps = 60
    neighbours = [
        holdfast.enqueue("long_steps", {"steps": steps, "seconds": 0.05, "log": str(log)}) for log in short
    ]
    patient = holdfast.enqueue("long_steps", {"steps": 1, "seconds": 3.0, "log": str(long)})
    poison = holdfast.enqueue(
        "dying.poison",
        {"places": str(tmp_path), "been": [], "neighbours": [str(log) for log in (*short, long)]},
    )
    deaths = 0
    while holdfast.get(poison.id).status is not RunStatus.FAILED:
        worker = stage.worker(pool="threads", concurrency=4, holdfast=FAST, wait=False)
        deaths += 1
        until(
            lambda worker=worker: not worker.alive or holdfast.get(poison.id).status is RunStatus.FAILED,
            60,
            "the poison takes effect",
        )
    ended = [holdfast.wait(run.id, timeout=60) for run in (*neighbours, patient)]
    failed = holdfast.get(poison.id)
    assert failed.crashes == 3
    assert failed.error is not None
    assert "died 3 times without getting further" in failed.error["message"]
    assert deaths == 4, "three workers died, the fourth set the run aside"
    for run, log, count in zip(ended, (*short, long), (steps, steps, 1), strict=True):
        assert run.status is RunStatus.SUCCEEDED, run.error
        assert run.result["done"] == [f"{number}.0" for number in range(count)]
        # Only what was in flight when the process died has begun again.
        assert sum(log.begun().values()) - count <= run.deliveries - 1
    assert ended[2].deliveries > 1, "the poison struck beside the long step"
    connections.close_all()
