"""Real Celery workers on the PostgreSQL broker: they are killed, their database crashes, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from celery import Celery

from tests.acceptance.broker_stage import WAIT, Stage, Worker, app, enter
from tests.servers import PrivatePostgres, private_postgres

__all__ = ["private_postgres"]
pytestmark = pytest.mark.acceptance

ASKS = "the test asks"
"""How the sessions call themselves in which a test looks at the database."""


def eventually(truth: Callable[[], Any], timeout: float = WAIT) -> Any:
    """The first true answer; what the database alone knows can only be asked for."""
    deadline = time.monotonic() + timeout
    while not (answer := truth()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)  # no event tells of a row's change
    return answer


class House:
    """A database of one test's own, its workers, and the test's own connection to the broker."""

    def __init__(self, server: PrivatePostgres, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.database = f"t{os.getpid()}_{time.monotonic_ns()}"
        with server.connect() as admin:
            admin.execute(f"CREATE DATABASE {self.database}")
        self.url = f"holdfast+{server.dsn(self.database)}"
        self.stage = Stage(folder)
        self.workers: list[Worker] = []
        self.connection = app.connection_for_write(self.url)
        self.connection.default_channel  # noqa: B018 - makes the tables

    def worker(self, name: str = "one", *options: str, prefetch: int = 1, alias: bool = False) -> Worker:
        environment = {"STAGE_PREFETCH": str(prefetch), **self.server.environment(self.database)}
        if alias:
            subprocess.run(
                [sys.executable, "-m", "django", "migrate", "holdfast_runner", "-v0"],
                env={**os.environ, **environment},
                check=True,
            )
        broker = "holdfast://default" if alias else self.url
        worker = Worker(broker, self.folder, name, *options, environment=environment)
        self.workers.append(worker)
        eventually(
            lambda: self.ask("SELECT consumed FROM holdfast_broker_queue WHERE name LIKE %s", f"{name}@%")
        )
        return worker

    def send(self, *texts: str, **options: Any) -> None:
        for text in texts:
            enter.apply_async((self.stage.path, text), connection=self.connection, **options)

    def ask(self, question: str, *parameters: Any) -> Any:
        """The first column of the first row."""
        with self._connect() as connection:
            row = connection.execute(question, parameters or None).fetchone()
        return row and row[0]

    def messages(self) -> int:
        return int(self.ask("SELECT count(*) FROM holdfast_broker_message WHERE queue = 'celery'"))

    def all_done(self) -> None:
        eventually(lambda: self.messages() == 0)

    def sessions(self) -> list[int]:
        """The backends of this database other than the test's own, of which one may outlast its connection by a moment."""
        with self._connect() as connection:
            own = self.connection.transport.link.session
            return [
                row[0]
                for row in connection.execute(
                    "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
                    " AND application_name <> %s AND pid <> %s",
                    (self.database, ASKS, own.pid if own else 0),
                )
            ]

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.server.dsn(self.database), autocommit=True, application_name=ASKS)

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        self.connection.close()
        self.stage.close()


@pytest.fixture
def house(private_postgres: PrivatePostgres, tmp_path: Path) -> Iterator[House]:
    house = House(private_postgres, tmp_path)
    try:
        yield house
    finally:
        house.close()


@pytest.mark.parametrize("alias", [False, True], ids=["url", "alias"])
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_task_makes_the_round_trip_on_one_connection(house: House, pool: str, alias: bool) -> None:
    house.worker("one", "-P", pool, alias=alias)
    house.send("a", "b", "c")
    seen = []
    for _ in range(3):
        visit = house.stage.next()
        seen.append(visit.text)
        assert house.ask("SELECT count(*) FROM holdfast_broker_message WHERE holder_pid IS NOT NULL") >= 1
        visit.go()
    house.all_done()
    assert seen == ["a", "b", "c"]
    assert len(house.sessions()) == 1


def test_p1_the_message_of_a_killed_worker_goes_to_another(house: House) -> None:
    first = house.worker("one")
    house.send("a")
    visit = house.stage.next()
    assert not visit.redelivered
    house.worker("two")
    first.kill()
    again = house.stage.next()
    assert again.text == "a"
    assert again.redelivered
    again.go()
    house.all_done()


def test_p1_the_message_of_a_killed_child_is_run_again(house: House) -> None:
    house.worker("one")
    house.send("a")
    visit = house.stage.next()
    os.kill(visit.pid, signal.SIGKILL)
    again = house.stage.next()
    assert again.pid != visit.pid
    assert again.redelivered
    again.go()
    house.all_done()


def test_every_copy_of_a_message_is_delivered_and_acknowledged_by_itself(house: House) -> None:
    house.send("a")
    house.ask(
        "WITH copies AS (INSERT INTO holdfast_broker_message (queue, payload) SELECT queue, payload "
        "FROM holdfast_broker_message, generate_series(1, 4) RETURNING 1) SELECT count(*) FROM copies"
    )
    house.worker("one")
    for _ in range(5):
        house.stage.next().go()
    house.all_done()
    assert house.stage.nobody_comes()


def test_a_task_with_a_due_time_is_held_without_being_given_away_and_blocks_nobody(house: House) -> None:
    house.worker("one")
    house.send("later", countdown=2)
    eventually(lambda: house.ask("SELECT count(*) FROM holdfast_broker_message WHERE holder_pid IS NOT NULL"))
    house.send("now")
    first = house.stage.next()
    first.go()
    second = house.stage.next()
    second.go()
    assert [first.text, second.text] == ["now", "later"]
    assert not second.redelivered
    house.all_done()


def test_p1_a_worker_goes_on_after_the_message_table_was_emptied(house: House) -> None:
    house.worker("one")
    house.send("a", "b")
    visit = house.stage.next()
    house.ask("WITH gone AS (DELETE FROM holdfast_broker_message RETURNING 1) SELECT count(*) FROM gone")
    visit.go()
    house.send("c")
    texts = [house.stage.next()]
    texts[0].go()
    if texts[0].text == "b":  # it was prefetched
        texts.append(house.stage.next())
        texts[1].go()
    assert texts[-1].text == "c"
    house.all_done()


@pytest.mark.parametrize("alias", [False, True], ids=["url", "alias"])
@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("disaster", ["restart", "backend killed", "session ended"])
def test_p1_a_worker_recovers_from_the_loss_of_its_database_and_repeats_nothing(
    house: House, disaster: str, pool: str, alias: bool
) -> None:
    worker = house.worker("one", "-P", pool, prefetch=4, alias=alias)
    house.send("a", "b", "c")
    visit = house.stage.next()
    eventually(
        lambda: house.ask("SELECT count(*) FROM holdfast_broker_message WHERE holder_pid IS NOT NULL") == 3
    )
    (session,) = house.sessions()
    if disaster == "restart":
        house.server.restart("immediate")
    elif disaster == "backend killed":
        house.server.kill_backend(session)
    else:
        house.ask("SELECT pg_terminate_backend(%s)", session)
    eventually(lambda: _quietly(lambda: [pid for pid in house.sessions() if pid != session]))
    visit.go()
    house.send("d")
    seen = [visit.text]
    for _ in range(3):
        other = house.stage.next()
        seen.append(other.text)
        other.go()
    house.all_done()
    assert sorted(seen) == ["a", "b", "c", "d"]
    assert house.stage.nobody_comes()
    assert worker.process.poll() is None


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_p1_a_server_that_takes_no_writes_for_a_while_ends_no_worker(house: House, pool: str) -> None:
    """As where a failover leads to a standby at first: sessions are there, and can write nothing."""
    worker = house.worker("one", "-P", pool)
    house.send("a")
    visit = house.stage.next()
    with house.server.connect() as admin:
        try:
            admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            admin.execute("SELECT pg_reload_conf()")
            eventually(lambda: "takes no writes" in worker.log.read_text())
        finally:
            admin.execute("SET default_transaction_read_only = off")
            admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
            admin.execute("SELECT pg_reload_conf()")
    visit.go()
    eventually(lambda: house.ask("SHOW default_transaction_read_only") == "off")
    house.send("b")
    second = house.stage.next()
    assert (visit.text, second.text) == ("a", "b")
    second.go()
    house.all_done()
    assert house.stage.nobody_comes()
    assert worker.process.poll() is None


def _quietly(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except psycopg.OperationalError:
        return None


def test_p7_a_stopping_worker_acknowledges_what_it_ends_and_gives_back_the_rest(house: House) -> None:
    first = house.worker("one", prefetch=4)
    house.send("a", "b", "c")
    visit = house.stage.next()
    eventually(
        lambda: house.ask("SELECT count(*) FROM holdfast_broker_message WHERE holder_pid IS NOT NULL") == 3
    )
    first.process.terminate()
    house.worker("two")
    eventually(lambda: "Warm shutdown" in first.log.read_text())
    visit.go()
    seen = []
    for _ in range(2):
        other = house.stage.next()
        seen.append(other.text)
        other.go()
    assert first.process.wait(WAIT) == 0
    assert sorted(seen) == ["b", "c"]
    house.all_done()


def test_remote_control_and_events_work_and_leave_nothing_behind(house: House) -> None:
    workers = [house.worker("one"), house.worker("two")]
    operator = Celery("stage", broker=house.url, set_as_current=False)
    control = operator.control
    with operator.connection_for_read() as connection:
        inspect = control.inspect(timeout=5, limit=2)
        assert set(inspect.ping()) == {"one@test", "two@test"}
        house.send("a")
        visit = house.stage.next()
        active = inspect.active()
        assert sorted(len(tasks) for tasks in active.values()) == [0, 1]
        assert inspect.stats()["one@test"]["prefetch_count"] == 1
        seen: list[str] = []

        def notice(event: dict[str, Any]) -> None:
            if not seen:
                visit.go()
            seen.append(event["type"])
            receiver.should_stop = event["type"] == "task-succeeded"

        receiver = operator.events.Receiver(connection, handlers={"*": notice})
        receiver.capture(timeout=WAIT)
        assert "task-succeeded" in seen
        control.broadcast("shutdown", destination=["one@test"])
        assert workers[0].process.wait(WAIT) == 0
    house.all_done()
    workers[1].kill()
    operator.close()
    with app.connection_for_read(house.url) as connection:  # somebody sweeps
        with connection.SimpleQueue("other") as queue:

            def only_the_durable_are_left() -> bool:
                with suppress(queue.Empty):
                    queue.get(timeout=0.2)
                return (
                    house.ask("SELECT count(*) FROM holdfast_broker_queue WHERE auto_delete OR exclusive")
                    == 0
                )

            eventually(only_the_durable_are_left)
    assert house.ask("SELECT count(*) FROM holdfast_broker_message") == 0


def test_purge_from_the_command_line_empties_the_queue(house: House) -> None:
    house.send("a", "b", "c")
    result = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tests.acceptance.broker_stage", "purge", "-f"],
        env={**os.environ, "STAGE_BROKER": house.url},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "Purged 3 messages" in result.stdout
    assert house.messages() == 0
