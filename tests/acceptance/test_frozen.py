"""P2, R10, R11: a process that stands still beyond its lease loses its runs, damages nothing, and serves on."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil
import pytest

import holdfast
from holdfast.graphs.examples.models import Publication
from holdfast.persistence.models import Effect, Step
from tests.acceptance.trials import GRAPHS, LONG_LEASE, PATIENCE, Trial, everything, take_overs
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage, Worker

SHORT: dict[str, Any] = {"LEASE": 6.0, "IDLE_IN_TRANSACTION": 2.0, "GRACE": PATIENCE}
"""A lease that a test can wait for; and a process whose executor outlives it is given time (R8)."""


def assert_leases_expired(trials: list[Trial], sweeper: Worker) -> None:
    """The frozen process's session is there all the while: only time took its runs away."""
    seen = {each.run: each for each in take_overs(sweeper)}
    for trial in trials:
        assert seen[str(trial.id)].cause == "lease expired"
        assert seen[str(trial.id)].age >= SHORT["LEASE"]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_p2_a_stopped_worker_that_wakes_up_writes_nothing_and_serves_other_runs(
    stage: Stage, pool: str
) -> None:
    old = stage.worker(pool=pool, concurrency=4, holdfast=SHORT)
    trials = [Trial(stage, graph, steps=3, width=3).enqueue(held=[1]) for graph in GRAPHS]
    raced = Trial(stage, "long_steps", steps=3, width=3).enqueue(held=[1])
    for trial in [*trials, raced]:
        trial.wait_held(1)
    of_old = everything(stage.database)["checkpoints"]
    family = [old.pid, *old.children]
    new = stage.worker(pool=pool, concurrency=4, holdfast=SHORT)
    old.stop()

    for trial in [*trials, raced]:
        trial.wait_begun(1, 2)
    assert_leases_expired([*trials, raced], new)
    for trial in trials:  # the new worker finishes these before the old one wakes up
        trial.release(1)
        run = trial.wait_succeeded()
        assert (run.deliveries, run.crashes) == (2, 1)
        trial.assert_executed(again=[1])

    # The new worker's timeline of the fourth is written by a beat of its own.
    until(
        Step.objects.filter(run_id=raced.id, delivery=2).exists, PATIENCE, "the take-over is in the timeline"
    )
    before = everything(stage.database)
    old.cont()
    # It has seen that all four are another's by now; three of them end under its hands and are refused.
    until(
        lambda: old.text.count("was taken over; this attempt wrote nothing more") == 3,
        PATIENCE,
        "the old worker gave up three runs",
    )
    after = everything(stage.database)
    held = {"holdfast_run"}  # of the run that is still executed, only the lease is renewed
    for table in before.keys() - held:
        assert after[table] == before[table], table
    ended = {trial.id for trial in trials}
    assert [row for row in after["holdfast_run"] if row[0] in ended] == [
        row for row in before["holdfast_run"] if row[0] in ended
    ]

    raced.release(1)  # in both workers at once
    assert raced.wait_succeeded().deliveries == 2
    until(
        lambda: old.text.count("was taken over; this attempt wrote nothing more") == 4,
        PATIENCE,
        "the old worker gave up the fourth run too",
    )
    assert raced.log.ended()[1, 2] == 2  # both came to the end of the node; one of them could write
    delivered = (
        "SELECT count(*) FROM checkpoints WHERE thread_id = %s AND metadata ->> 'holdfast_delivery' = '1'"
    )
    with stage.database.connect() as connection:
        for trial in [*trials, raced]:
            (count,) = connection.execute(delivered, [trial.run.thread_id]).fetchone() or (0,)
            assert count == sum(row[0] == trial.run.thread_id for row in of_old)

    new.term()
    assert new.wait_end(PATIENCE) == 0
    others = [Trial(stage, graph, steps=3, width=2).enqueue() for graph in GRAPHS]
    for trial in others:
        assert trial.wait_succeeded().deliveries == 1
        trial.assert_executed()
        assert set(trial.log.pids()) <= set(family)  # the very processes that had been stopped
    assert [old.pid, *old.children] == family


IN_TRANSACTION = """
SELECT state FROM pg_stat_activity
WHERE datname = current_database() AND state LIKE 'idle in transaction%%' AND pid <> pg_backend_pid()
"""


@pytest.mark.parametrize(
    "point",
    [
        "effect-after-body=stop:2",  # the second body: the keyed effect before it has no transaction
        "effect-in-transaction=stop",  # holds the run's row too
    ],
)
def test_r11_p4_a_process_frozen_in_an_open_effect_transaction_is_replaced(stage: Stage, point: str) -> None:
    (stage.directory / "a.txt").write_text("Kelp holds fast. It grows where the water moves.")
    old = stage.worker(concurrency=1, holdfast=SHORT, faults=point)
    run = holdfast.enqueue(
        "digest", {"paths": [str(stage.directory / "a.txt")], "folder": str(stage.directory / "out")}
    )
    assert holdfast.wait(run.id, timeout=PATIENCE).status == "interrupted"
    (child,) = old.children
    holdfast.resume(run.id, "yes")
    with stage.database.connect() as connection:

        def in_transaction() -> bool:
            return connection.execute(IN_TRANSACTION).fetchone() is not None

        until(lambda: _stopped(child), PATIENCE, "the child stands still")
        assert in_transaction(), connection.execute(
            "SELECT pid, state, query FROM pg_stat_activity WHERE datname = current_database()"
        ).fetchall()
        new = stage.worker(concurrency=2, holdfast=SHORT)
        done = holdfast.wait(run.id, timeout=PATIENCE)
        assert done.status == "succeeded"
        assert done.deliveries == 3
        assert not in_transaction()  # the server has ended it, though its holder still stands still
        assert _stopped(child)
    assert [each.cause for each in take_overs(new)] == ["lease expired"]
    before = everything(stage.database)
    published = list(Publication.objects.values())
    assert len(published) == 1
    assert sorted(Effect.objects.values_list("kind", "state", "attempts")) == [
        ("keyed", "done", 1),
        ("transactional", "done", 1),
    ]
    _continue(child)
    until(lambda: "this attempt wrote nothing more" in old.text, PATIENCE, "the old worker gave the run up")
    assert everything(stage.database) == before
    assert list(Publication.objects.values()) == published
    assert old.children == [child]


def test_r10_a_process_frozen_in_its_sweep_stops_nobody_elses(stage: Stage) -> None:
    frozen = stage.worker(pool="threads", concurrency=1, faults="sweep-after-commit=stop", wait=False)
    until(lambda: frozen.alive and _stopped(frozen.pid), PATIENCE, "it stands still in its sweep")
    worker = stage.worker(concurrency=2, holdfast=LONG_LEASE)
    trial = Trial(stage, "long_steps", steps=3, width=2).enqueue(held=[1])
    trial.wait_held(1)
    worker.kill_child(trial.log.in_flight()[1, 1])
    trial.wait_begun(1, 2)
    assert [each.cause for each in take_overs(worker)] == ["session gone"]
    assert _stopped(frozen.pid)
    trial.release(1)
    trial.wait_succeeded()
    trial.assert_executed(again=[1])


def _stopped(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


def _continue(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)
    until(lambda: not _stopped(pid), PATIENCE, f"{pid} goes on")
