"""R9: PostgreSQL crashes, or one of its backends is killed, under twenty runs: nobody loses a lease by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

import holdfast
from holdfast.persistence.models import Checkpoint, RunStatus
from holdfast.persistence.records import Run
from holdfast.runner.api import steps as steps_of
from tests.acceptance.apps import celery_uses
from tests.acceptance.asking import graphs as graphs  # registers them in this process
from tests.acceptance.brokers import open_broker
from tests.acceptance.databases import Database, django_uses
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage
from tests.servers import PrivatePostgres, private_postgres

__all__ = ["private_postgres"]

THREADS, CHILDREN = 14, 6
STEPS = 40


class House:
    """A server of its own, and two workers that outlive all tests of the module."""

    def __init__(self, server: PrivatePostgres, stage: Stage) -> None:
        self.server = server
        self.stage = stage
        self.workers = [
            stage.worker(pool="threads", concurrency=THREADS, wait=False),
            stage.worker(pool="prefork", concurrency=CHILDREN, wait=False),
        ]
        for worker in self.workers:
            worker.wait_ready(60)
        self.pids = self.processes()

    def processes(self) -> list[list[int]]:
        """The parent of each worker and its children."""
        return [[worker.pid, *worker.children] for worker in self.workers]

    def logs(self) -> str:
        """For the report of a failed test."""
        return self.stage.logs()

    def twenty_runs(self, *, checkpoints: int = 4) -> list[Run]:
        """As many runs as there are places, each of which has stored that many checkpoints at least.

        The first commit does not wait for the disk, the third has taken it along.
        """
        runs = holdfast.enqueue_many(
            [
                {"graph": "long_steps", "input": {"steps": STEPS, "seconds": 0.1}}
                for _ in range(THREADS + CHILDREN)
            ]
        )
        until(
            lambda: all(holdfast.get(run.id).status is RunStatus.RUNNING for run in runs),
            60,
            "all are executed",
        )
        until(lambda: all(_stored(run) >= checkpoints for run in runs), 60, "all have begun")
        return runs

    def crash(self) -> None:
        """Stop the server at once, and start it again."""
        self.server.restart("immediate")
        connections.close_all()

    def kill_a_backend(self) -> None:
        """kill -9 a session of a worker, upon which the server resets all of them."""
        with self.server.connect(self.stage.database.name) as witness:
            row = witness.execute(
                "SELECT session_pid FROM holdfast_run WHERE status = 'running' LIMIT 1"
            ).fetchone()
            assert row is not None
            self.server.kill_backend(row[0])
            until(lambda: not _answers(witness), 30, "every session is reset")
        until(self._is_back, 30, "the server has recovered")
        connections.close_all()

    def _is_back(self) -> bool:
        try:
            with self.server.connect(self.stage.database.name) as connection:
                return _answers(connection)
        except psycopg.OperationalError:
            return False

    def check(self, runs: list[Run]) -> None:
        """All complete by the attempt that was under way, in the processes that were there before."""
        ended = [holdfast.wait(run.id, timeout=90) for run in runs]
        assert {run.status for run in ended} == {RunStatus.SUCCEEDED}, [run.error for run in ended]
        assert {(run.deliveries, run.crashes) for run in ended} == {(1, 0)}
        assert all(run.result["done"] == [f"{step}.0" for step in range(STEPS)] for run in ended)
        assert self.processes() == self.pids


def _stored(run: Run) -> int:
    return Checkpoint.objects.filter(thread_id=run.thread_id).count()


def _answers(connection: psycopg.Connection[Any]) -> bool:
    try:
        return connection.execute("SELECT true").fetchone() is not None
    except psycopg.OperationalError:
        return False


@pytest.fixture(scope="module", params=["holdfast", "redis"])
def house(
    request: pytest.FixtureRequest,
    private_postgres: PrivatePostgres,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[House]:
    server = Database(host="127.0.0.1", port=str(private_postgres.port), user="postgres", password="")
    database = server.create(f"house_{request.param}")
    database.migrate()
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        stack.enter_context(django_uses(database))
        broker = open_broker(request.param, database)
        stack.callback(broker.close)
        stack.enter_context(celery_uses(broker))
        stage = Stage(database, broker, tmp_path_factory.mktemp("house"))
        stack.callback(stage.end)
        yield House(private_postgres, stage)


def test_r9_the_database_crashes_under_twenty_runs(house: House) -> None:
    runs = house.twenty_runs()
    house.crash()
    house.check(runs)


def test_r9_a_killed_backend_resets_all_sessions_under_twenty_runs(house: House) -> None:
    runs = house.twenty_runs()
    house.kill_a_backend()
    house.check(runs)


def test_r9_a_nodes_query_works_after_the_crash(house: House, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    runs = [
        holdfast.enqueue(graph, {"gate": str(gate)})
        for graph in ("queries", "queries.async", "queries.mixed")
        for _ in range(6)
    ]
    until(
        lambda: all(any(step.node == "wait" for step in steps_of(run.id)) for run in runs),
        60,
        "each has made its first query",
    )
    house.crash()
    gate.touch()
    ended = [holdfast.wait(run.id, timeout=60) for run in runs]
    assert [run.error for run in ended if run.status is not RunStatus.SUCCEEDED] == []
    assert all(run.result["after"] == run.result["before"] for run in ended)
    assert {(run.deliveries, run.crashes) for run in ended} == {(1, 0)}
    assert house.processes() == house.pids


def test_p1_runs_that_wait_for_their_turn_while_the_database_crashes_are_executed(house: House) -> None:
    runs = holdfast.enqueue_many(
        [{"graph": "long_steps", "input": {"steps": 3, "seconds": 0.05}} for _ in range(100)]
    )
    until(
        lambda: any(holdfast.get(run.id).status is RunStatus.SUCCEEDED for run in runs), 60, "some are done"
    )
    house.crash()
    ended = [holdfast.wait(run.id, timeout=90) for run in runs]
    assert {run.status for run in ended} == {RunStatus.SUCCEEDED}
    assert {run.crashes for run in ended} == {0}
    assert house.processes() == house.pids


def test_r5_r9_a_crash_in_the_first_moments_of_twenty_runs_costs_none_a_crash_or_its_input(
    house: House,
) -> None:
    """Only a run whose first checkpoint the crash took along is begun anew, given back by the attempt itself."""
    runs = house.twenty_runs(checkpoints=0)
    house.crash()
    ended = [holdfast.wait(run.id, timeout=90) for run in runs]
    assert {run.status for run in ended} == {RunStatus.SUCCEEDED}, [run.error for run in ended]
    assert {run.crashes for run in ended} == {0}
    assert all(run.result["done"] == [f"{step}.0" for step in range(STEPS)] for run in ended)
    given_back = {run.id for run in ended if run.deliveries > 1}
    said = "".join(worker.text for worker in house.workers)
    assert all(f"run {id_} goes on from what a crash of the database has left" in said for id_ in given_back)
    assert house.processes() == house.pids
