"""P1, P3, R8, R9: the database is away for longer than a lease, for everybody; then everything goes on, once.

No process is restarted by it, no node that was committed is repeated, and a run whose node outlasts the outage is
not even handed over: a process whose own beat was late judges nobody for one lease.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

from tests.acceptance.apps import celery_uses
from tests.acceptance.brokers import open_broker
from tests.acceptance.databases import Database, django_uses
from tests.acceptance.trials import GRAPHS, Trial
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage
from tests.servers import PrivatePostgres, private_postgres

__all__ = ["private_postgres"]

LEASE = 3.0
SHORT: dict[str, Any] = {"LEASE": LEASE, "IDLE_IN_TRANSACTION": 1.0, "BELL_IDLE": 1.0}
SECONDS = 0.2
"""How long a step takes."""
BLIND = 2.5
"""Seconds: four heartbeats, and how long the last one before the outage was ago."""
OUTAGE = 3 * LEASE
"""Seconds: the saver gives up after one lease, and the hand-over that follows after another, once."""


@pytest.fixture(params=["holdfast", "redis"])
def stage(
    request: pytest.FixtureRequest,
    private_postgres: PrivatePostgres,
    tmp_path: Path,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Stage]:
    """On a server of its own; the broker is that same server, or one that stays."""
    server = Database(host="127.0.0.1", port=str(private_postgres.port), user="postgres", password="")
    database = server.create(f"outage_{request.node.name.encode().hex()[-40:]}")
    database.migrate()
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        stack.enter_context(django_uses(database))
        broker = open_broker(request.param, database)
        stack.callback(broker.close)
        stack.enter_context(celery_uses(broker))
        made = Stage(database, broker, tmp_path)
        stack.callback(made.end)
        yield made


def test_p1_p3_every_run_goes_on_after_an_outage_of_three_leases(
    stage: Stage, private_postgres: PrivatePostgres
) -> None:
    workers = [
        stage.worker(pool="threads", concurrency=4, holdfast=SHORT),
        stage.worker(concurrency=3, holdfast=SHORT),
    ]
    pids = [[worker.pid, *worker.children] for worker in workers]
    held = [Trial(stage, graph, steps=3).enqueue(held=[1]) for graph in GRAPHS]
    busy = [Trial(stage, graph, steps=60, seconds=SECONDS).enqueue() for graph in GRAPHS]
    for trial in held:
        trial.wait_held(1)
    for trial in busy:
        trial.wait_begun(5)

    private_postgres.stop("fast")
    connections.close_all()
    began = time.monotonic()
    until(lambda: time.monotonic() > began + OUTAGE, 2 * OUTAGE, "the outage lasts")
    private_postgres.start()

    for trial in busy:
        run = trial.wait_succeeded()
        assert (run.deliveries, run.crashes) == (2, 0), "handed over, not lost"
        again = {step for (step, _), times in trial.log.begun().items() if times > 1}
        # An @entrypoint runs ahead of what is stored, until the heartbeat knows of the outage.
        most = 1 + BLIND / SECONDS if trial.graph == "long_steps_tasks" else 1
        assert len(again) <= most, (trial.graph, again)
    for trial in held:
        trial.release(1)
        run = trial.wait_succeeded()
        assert (run.deliveries, run.crashes) == (1, 0), "its node outlasted the outage"
        trial.assert_executed()
    assert [[worker.pid, *worker.children] for worker in workers] == pids


def test_r9_a_table_that_somebody_locks_for_longer_than_a_lease_costs_no_run_its_attempt(
    stage: Stage,
) -> None:
    """Renewals wait for it, and so does the sweep that would judge them."""
    for _ in range(2):
        stage.worker(pool="threads", concurrency=2, holdfast=SHORT)
    trials = [Trial(stage, graph, steps=2).enqueue(held=[1]) for graph in GRAPHS]
    for trial in trials:
        trial.wait_held(1)
    time.sleep(BLIND)  # whoever starts under load is late, and judges nobody for one lease
    for _ in range(2):
        time.sleep(LEASE)  # so do those who were late in the round before
        with stage.database.connect() as sql, sql.transaction():
            sql.execute("LOCK TABLE holdfast_run IN ACCESS EXCLUSIVE MODE")
            time.sleep(OUTAGE)  # how long it lasts
    for trial in trials:
        trial.release(1)
        run = trial.wait_succeeded()
        assert (run.deliveries, run.crashes) == (1, 0)
