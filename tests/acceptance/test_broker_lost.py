"""P1: the broker is only a bell. What it loses is found, what it repeats changes nothing, on all three."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from django.db import connection, transaction
from django.test import override_settings

import holdfast
from holdfast.faults import Point
from holdfast.persistence import ledger
from holdfast.runner import dispatch
from tests.acceptance.brokers import Broker, every_broker
from tests.acceptance.journal.pages import Gate, Log, notes, page
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage

SOON = {"BELL_IDLE": 1.0, "LEASE": 6.0, "IDLE_IN_TRANSACTION": 3.0}
"""Nothing proven here depends on how long anybody waits."""


@every_broker
def test_p1_runs_complete_though_the_broker_loses_everything(stage: Stage, broker: Broker) -> None:
    gates, log = [Gate(stage.directory), Gate(stage.directory)], Log(stage.directory)
    first = stage.worker(concurrency=2, holdfast=SOON)
    running = [
        holdfast.enqueue("journal", page(f"running{i}", gate=str(gate), gate_at=1, log=str(log)))
        for i, gate in enumerate(gates)
    ]
    until(lambda: {"running0.1", "running1.1"} <= set(log.counts()), 60, "both children are at their gates")
    queued = [holdfast.enqueue("journal", page(f"queued{i}", log=str(log))) for i in range(3)]
    later = holdfast.enqueue("journal", page("later", log=str(log)), run_after=1.0)

    broker.lose_everything()
    gates[0].open()  # one child is free: it finds the rest, with nothing in the broker
    for run in [running[0], *queued, later]:
        assert holdfast.wait(run.id, timeout=60).status == "succeeded"
    after = holdfast.enqueue("journal", page("after", log=str(log)))  # the broker is of use again
    assert holdfast.wait(after.id, timeout=60).status == "succeeded"

    first.kill()
    broker.lose_everything()  # also what came back of the message of the run that was killed
    second = stage.worker(concurrency=2, holdfast=SOON)
    until(lambda: log.counts()["running1.1"] == 2, 60, "the killed run is found")
    gates[1].open()
    assert holdfast.wait(running[1].id, timeout=60).status == "succeeded"

    for run, name in [
        *((run, f"running{i}") for i, run in enumerate(running)),
        *((run, f"queued{i}") for i, run in enumerate(queued)),
        (later, "later"),
        (after, "after"),
    ]:
        assert holdfast.get(run.id).result["notes"] == notes(name)
    assert {step: n for step, n in log.counts().items() if n != 1} == {"running1.1": 2}
    assert second.alive


@every_broker
def test_p1_a_run_whose_message_comes_five_times_is_executed_once(stage: Stage, broker: Broker) -> None:
    log = Log(stage.directory)
    runs = [holdfast.enqueue("journal", page(f"r{i}", log=str(log), seconds=0.05)) for i in range(6)]
    for _ in range(4):
        assert dispatch.ring_all([ledger.bell(run) for run in runs]) == len(runs)
    stage.worker(concurrency=2)
    for run in runs:
        assert holdfast.wait(run.id, timeout=60).status == "succeeded"
    dispatch.ring_all([ledger.bell(holdfast.get(run.id)) for run in runs])  # late, and to the recovery queue
    until(lambda: broker.messages() == 0, 60, "all messages were taken")
    last = holdfast.enqueue("journal", page("last"))
    holdfast.wait(last.id, timeout=60)
    assert log.counts() == {f"r{i}.{step}": 1 for i in range(6) for step in range(2)}
    for i, run in enumerate(runs):
        read = holdfast.get(run.id)
        assert (read.deliveries, read.status, read.result["notes"]) == (1, "succeeded", notes(f"r{i}"))


@pytest.mark.parametrize(
    "name", ["broker-after-take", "broker-before-acknowledge", "broker-after-acknowledge"]
)
def test_p1_r18_a_worker_that_dies_around_its_message_costs_no_run(stage: Stage, name: Point) -> None:
    log = Log(stage.directory)
    short = stage.worker(concurrency=1, holdfast=SOON, faults=f"{name}=kill")
    runs = [holdfast.enqueue("journal", page(f"r{i}", log=str(log))) for i in range(3)]
    until(lambda: not short.alive, 60, "the worker has died there")
    stage.worker(concurrency=1, holdfast=SOON)
    for run in runs:
        assert holdfast.wait(run.id, timeout=60).status == "succeeded"
    until(lambda: stage.broker.messages() == 0, 60, "what the dead one held is taken, and answered")
    assert {step for step, times in log.counts().items() if times != 1} == set()


def test_r16_five_thousand_waiting_runs_are_not_rung_for_again_and_one_lost_bell_is_found(
    stage: Stage, broker: Broker
) -> None:
    """The worker's clock is five minutes ahead: past what an idle worker waits, short of a busy one."""
    gate, log = Gate(stage.directory), Log(stage.directory)
    ahead = {"PGOPTIONS": "-c holdfast.clock_offset=300s"}
    stage.worker(concurrency=1, extra=ahead, holdfast={"BELL_BUSY": 3000.0})
    long = holdfast.enqueue("journal", page("long", gate=str(gate), log=str(log)))
    until(lambda: log.counts(), 60, "the only child is busy")
    with override_settings(HOLDFAST={"BELL_BUSY": 3000.0}):
        runs = holdfast.enqueue_many([{"graph": "journal", "input": page(str(i), 1)} for i in range(5000)])
    until(lambda: broker.messages() == 5001, 60, "all bells wait, and the one of the run that is executed")

    with stage.database.connect() as sql, rung_again(sql) as again:
        renewed = "SELECT renewed_at FROM holdfast_run WHERE id = %s"

        def beats() -> float:
            return float(sql.execute(renewed, [long.id]).fetchone()[0].timestamp())

        begin = beats()
        until(lambda: beats() - begin > 3, 60, "the busy child has beaten, and so swept, for three seconds")
        assert again() == []
        assert broker.messages() == 5001

        lost = runs[2500].id
        forget = "DELETE FROM holdfast_broker_message WHERE payload LIKE %s AND holder_pid IS NULL"
        assert sql.execute(forget, [f"%{lost}%"]).rowcount == 1
        gate.open()
        ended = "SELECT count(*) FROM holdfast_run WHERE status = 'succeeded' AND deliveries = 1"
        until(lambda: sql.execute(ended).fetchone() == (5001,), 240, "all have ended, the lost one too")
        assert again() == [lost]  # and for nobody else among them


@contextmanager
def rung_again(sql: psycopg.Connection) -> Iterator[Callable[[], list[UUID]]]:
    """Notes in the database each run that is rung for while an earlier bell of its may still come."""
    sql.execute("CREATE TABLE rung_again (id uuid)")
    sql.execute(
        "CREATE FUNCTION note_ring() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO rung_again VALUES (NEW.id); RETURN NULL; END$$"
    )
    sql.execute(
        "CREATE TRIGGER note_ring AFTER UPDATE ON holdfast_run FOR EACH ROW"
        " WHEN (OLD.rings > 0 AND NEW.rings > OLD.rings) EXECUTE FUNCTION note_ring()"
    )
    try:
        yield lambda: [id_ for (id_,) in sql.execute("SELECT id FROM rung_again").fetchall()]
    finally:
        sql.execute("DROP TRIGGER note_ring ON holdfast_run")
        sql.execute("DROP FUNCTION note_ring()")
        sql.execute("DROP TABLE rung_again")


def test_r16_a_bell_is_repeated_after_a_minute_of_work_then_twice_as_late_each_time(stage: Stage) -> None:
    """Statement by statement, with the clock of the database moved to so long after the last ring."""
    run = holdfast.enqueue("journal", page("a"))

    def rung(seconds: float, *, idle: bool) -> bool:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('holdfast.clock_offset', (rung_at + %s - clock_timestamp())::text, true)"
                " FROM holdfast_run WHERE id = %s",
                [timedelta(seconds=seconds), run.id],
            )
            bells = ledger.bells(
                queues=["celery"], default_queue="celery", known=[("journal", "1")], idle=idle
            )
        assert {bell.run_id for bell in bells} <= {run.id}
        return bool(bells)

    assert not rung(3, idle=True)
    assert not rung(58, idle=False)
    for wait in (60, 120, 240, 480, 960, 1920, 3600, 3600):
        assert not rung(wait - 3, idle=False)
        assert rung(wait + 1, idle=False)
    assert rung(6, idle=True), "an idle consumer hears of it at once"
