"""P7, R13: a worker that is told to go hands its runs over between two steps, and nothing of it counts as a crash."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.acceptance.trials import GRAPHS, LONG_LEASE, PATIENCE, Trial, take_overs
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage, Worker

_DRAINING = re.compile(r"INFO/(\S+)\] draining: (\d+) runs")


def drained(worker: Worker) -> dict[str, int]:
    """How many runs each process of the worker had when it began to drain."""
    return {name: int(runs) for name, runs in _DRAINING.findall(worker.text)}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_p7_sigterm_hands_runs_over_between_two_short_steps_and_none_is_repeated(
    stage: Stage, pool: str
) -> None:
    old = stage.worker(pool=pool, concurrency=4)
    trials = [Trial(stage, graph, steps=40, width=2, seconds=0.005).enqueue(held=[6]) for graph in GRAPHS]
    for trial in trials:
        trial.wait_held(6)
    new = stage.worker(pool=pool, concurrency=4)
    old.term()
    # The byte in the pipe reaches every process while all of them are busy, and the idle one too.
    processes = 4 if pool == "prefork" else 1
    until(lambda: len(drained(old)) == processes, PATIENCE, "every process of the worker drains")
    assert sum(drained(old).values()) == len(trials)
    assert old.alive
    for trial in trials:
        trial.release(6)
    assert old.wait_end(PATIENCE) == 0
    for trial in trials:
        run = trial.wait_succeeded()
        assert (run.deliveries, run.crashes) == (2, 0)
        trial.assert_executed()
        pids = trial.log.pids()
        assert len(pids) == 2, (trial.graph, pids)  # handed over in the middle, not at the end
    assert take_overs(old, new) == []  # handed over, not found
    assert [line for line in old.text.splitlines() if "WARNING" in line] == []  # a deploy is no trouble


def test_p7_r13_sigterm_then_sigkill_in_mid_node_four_times_in_a_row_is_no_crash(stage: Stage) -> None:
    worker = stage.worker(concurrency=3, holdfast=LONG_LEASE)
    trials = [Trial(stage, graph, steps=3, width=2).enqueue(held=[1]) for graph in GRAPHS]
    for trial in trials:
        trial.wait_held(1)
    for kill in range(1, 5):
        worker.term()
        # A node outlasts the grace: the deploy's tool waits in vain for the worker's end, then kills it.
        until(lambda: all(_marked(stage, trial) for trial in trials), PATIENCE, "the leases are marked")
        worker.kill()
        worker = stage.worker(concurrency=3, holdfast=LONG_LEASE)
        for trial in trials:
            trial.wait_begun(1, kill + 1)
        seen = take_overs(worker)
        assert len(seen) == len(trials)
        assert {(each.cause, each.draining, each.crashes) for each in seen} == {("session gone", True, 0)}
        assert not any(_marked(stage, trial) for trial in trials)  # the claim cleared it
    for trial in trials:
        trial.release(1)
        run = trial.wait_succeeded()
        assert (run.deliveries, run.crashes) == (5, 0)
        trial.assert_executed(again=[1], times=5)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_r13_a_bell_that_reaches_a_draining_process_is_passed_on(stage: Stage, pool: str) -> None:
    patient = {"BELL_IDLE": 3000.0, "BELL_BUSY": 3000.0}  # the sweep must not ring in the meantime
    old = stage.worker(pool=pool, concurrency=1, celery={"worker_prefetch_multiplier": 4}, holdfast=patient)
    first = Trial(stage, "long_steps", steps=3, width=2).enqueue(held=[1])
    first.wait_held(1)
    second = Trial(stage, "long_steps", steps=2, width=2).enqueue()
    until(lambda: f"[{second.id}.1] received" in old.text, PATIENCE, "its bell waits behind the first run")
    new = stage.worker(pool=pool, concurrency=1, holdfast=patient)
    old.term()
    until(lambda: drained(old), PATIENCE, "the process drains")
    first.release(1)
    assert old.wait_end(PATIENCE) == 0
    for trial, deliveries in ((first, 2), (second, 1)):
        run = trial.wait_succeeded()
        assert (run.deliveries, run.crashes) == (deliveries, 0)
        trial.assert_executed()
    # Celery gives back what its pool has not begun when that is stopped: always of prefork, and of threads unless the
    # first run has ended by then. A bell that was begun is passed on, and no other.
    begun = f"[{second.id}.1] succeeded" in old.text
    assert (f"the bell of run {second.id} is passed on" in old.text) == begun
    assert set(second.log.pids()) <= {new.pid, *new.children}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("how", ["control", "hangup"])
def test_r13_a_worker_told_to_go_otherwise_than_by_sigterm_hands_over_too(
    stage: Stage, pool: str, how: str
) -> None:
    old = stage.worker(pool=pool, concurrency=2)
    trial = Trial(stage, "long_steps", steps=40, width=2, seconds=0.005).enqueue(held=[6])
    trial.wait_held(6)
    if how == "control":  # as an operator does it from elsewhere
        stage.script(
            "from tests.acceptance.site.celery import app\n"
            f"app.control.broadcast('shutdown', destination={[old.nodename]!r})"
        ).check_returncode()
    else:  # then Celery begins the worker anew, which it cannot do where it was begun with "python -m celery"
        os.kill(old.pid, signal.SIGHUP)
    until(lambda: drained(old), PATIENCE, "the worker drains")
    new = stage.worker(pool=pool, concurrency=2)
    trial.release(6)
    old.wait_end(PATIENCE)
    run = trial.wait_succeeded()
    assert (run.deliveries, run.crashes) == (2, 0)
    trial.assert_executed()
    assert take_overs(new) == []  # handed over, not found


def _marked(stage: Stage, trial: Trial) -> bool:
    with stage.database.connect() as connection:
        row = connection.execute("SELECT draining FROM holdfast_run WHERE id = %s", [trial.id]).fetchone()
        return bool(row and row[0])
