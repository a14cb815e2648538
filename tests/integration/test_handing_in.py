"""P1, R17: what handing in a run says to the database: little, all or none, and nothing that a pooler breaks."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery, signals
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

import holdfast
from holdfast.errors import IdempotencyConflictError, ThreadBusyError
from holdfast.persistence.connections import direct
from holdfast.persistence.models import RunRow, Thread
from holdfast.runner import dispatch
from tests.acceptance.apps import celery_uses
from tests.acceptance.journal.pages import page

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Here:
    """The broker on the database of the runs."""

    url: str = "holdfast://default"
    queue: str = "celery"

    def messages(self) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM holdfast_broker_message")
            return int(cursor.fetchone()[0])

    def rung(self) -> list[str]:
        """The ids of the runs that messages are about, in the order in which they are taken."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT payload::json -> 'headers' ->> 'id' FROM holdfast_broker_message ORDER BY place"
            )
            return [row[0].partition(".")[0] for row in cursor.fetchall()]

    def lose_everything(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM holdfast_broker_message; DELETE FROM holdfast_broker_queue")

    def close(self) -> None:
        self.lose_everything()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.setattr(dispatch, "_quiet_until", 0.0)
    broker = Here()
    broker.lose_everything()
    with celery_uses(broker) as app:
        yield broker
        app.close()
    broker.close()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """A broker that is no database: Celery's own in memory."""
    monkeypatch.setattr(dispatch, "_quiet_until", 0.0)
    with celery_uses(Here(url="memory://")) as app:
        yield app


def round_trips(action: Callable[[], Any]) -> int:
    """How often the server was waited for on Django's connection: once for each time it says that it is ready."""
    connection.ensure_connection()
    with tempfile.TemporaryFile("w+") as wire:
        connection.connection.pgconn.trace(wire.fileno())
        try:
            action()
        finally:
            connection.connection.pgconn.untrace()
        wire.seek(0)
        return sum("ReadyForQuery" in line for line in wire)


def requests(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"graph": "journal", "input": page(str(number)), **more} for number in range(count)]


def enqueue(**more: Any) -> holdfast.Run:
    return holdfast.enqueue("journal", page("a"), **more)


@pytest.fixture
def warm(here: Here) -> Iterator[None]:
    """The broker knows the queue, and what is said again is prepared, which takes a statement's own round trip."""
    for _ in range(3):
        enqueue()
        holdfast.enqueue_many(requests(2))
    here.lose_everything()
    RunRow.objects.all().delete()
    yield
    connection.close()


@pytest.mark.usefixtures("warm")
def test_p1_a_lone_run_and_its_bell_take_one_round_trip(here: Here) -> None:
    assert round_trips(enqueue) == 1
    with transaction.atomic():
        connection.cursor().execute("SELECT 1")
        assert round_trips(enqueue) == 1
    assert RunRow.objects.count() == here.messages() == 2


def test_a_lone_run_takes_one_round_trip_beside_another_broker(elsewhere: Celery) -> None:
    for _ in range(3):
        enqueue()
    assert round_trips(enqueue) == 1


def test_the_first_run_of_a_connection_takes_no_more(here: Here) -> None:
    enqueue()
    connection.close()
    assert round_trips(enqueue) == 1


@pytest.mark.usefixtures("warm")
def test_p1_many_runs_take_as_many_round_trips_as_two(here: Here) -> None:
    """BEGIN, the runs, the bells, COMMIT; and in a transaction of the caller's a savepoint instead."""
    assert round_trips(lambda: holdfast.enqueue_many(requests(2))) == 4
    assert round_trips(lambda: holdfast.enqueue_many(requests(900))) == 4
    with transaction.atomic():
        connection.cursor().execute("SELECT 1")
        assert round_trips(lambda: holdfast.enqueue_many(requests(900))) == 4
    assert RunRow.objects.count() == here.messages() == 1802


def test_djangos_own_instruments_see_the_statements(here: Here) -> None:
    enqueue()
    with CaptureQueriesContext(connection) as queries:
        enqueue()
    assert [("holdfast_run" in sql, "holdfast_broker" in sql) for sql in map(str, queries)] == [
        (True, False),
        (False, True),
    ]
    seen: list[str] = []

    def watch(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        seen.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(watch):
        enqueue()
    assert len(seen) == 2


# ── prepared statements ──


def prepared() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        return int(cursor.fetchone()[0])


@pytest.fixture
def fresh() -> Iterator[None]:
    connection.close()
    yield
    connection.close()


@pytest.mark.usefixtures("fresh")
def test_what_is_said_again_is_prepared_and_djangos_own_statements_never(here: Here) -> None:
    runs = [enqueue() for _ in range(3)]
    for run in runs:
        holdfast.get(run.id)
    assert prepared() == 3  # the run, the bell, the reading
    assert connection.connection.prepare_threshold is None


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    "told", [{"DISABLE_SERVER_SIDE_CURSORS": True}, {"OPTIONS": {"prepare_threshold": None}}]
)
def test_behind_a_pooler_that_the_project_knows_of_nothing_is_prepared(
    told: dict[str, Any], here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in told.items():
        monkeypatch.setitem(connection.settings_dict, name, value)
    for _ in range(4):
        holdfast.get(enqueue().id)
    assert prepared() == 0


@pytest.mark.usefixtures("fresh")
def test_behind_a_pooler_that_nobody_told_of_nothing_is_prepared(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler gives its clients process ids of its own."""
    connection.ensure_connection()
    raw = connection.connection
    monkeypatch.setattr(type(raw.info), "backend_pid", property(lambda _: 1))
    for _ in range(4):
        holdfast.get(enqueue().id)
    assert direct._prepares[raw] is False
    assert prepared() == 0


def test_a_migration_that_adds_a_column_breaks_no_prepared_statement(here: Here) -> None:
    run = [enqueue() for _ in range(3)][-1]
    holdfast.get(run.id)
    holdfast.get(run.id)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE holdfast_run ADD COLUMN later integer")
    try:
        assert holdfast.get(enqueue().id).status == "queued"
        assert holdfast.get(run.id) == run
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE holdfast_run DROP COLUMN later")


@pytest.mark.usefixtures("fresh")
def test_a_session_that_somebody_emptied_hands_in_all_the_same(elsewhere: Celery) -> None:
    for _ in range(4):
        enqueue()
    with connection.cursor() as cursor:
        cursor.execute("DISCARD ALL")
    enqueue()
    assert RunRow.objects.count() == 5


# ── a broker that does not take the bell ──


@contextmanager
def no_table() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE holdfast_broker_message RENAME TO elsewhere")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO holdfast_broker_message")


def test_r17_a_bell_that_is_refused_leaves_run_and_transaction_as_they_are(
    here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    enqueue()
    with no_table():
        alone = enqueue()
        many = holdfast.enqueue_many(requests(3))
        with transaction.atomic():
            Thread.objects.create(id="mine", created_at=datetime.now(UTC))
            inside = enqueue(thread_id="mine")
            assert Thread.objects.filter(id="mine").exists(), "the transaction goes on"
        with transaction.atomic():
            enqueue()
            transaction.set_rollback(True)
    assert {run.id for run in (alone, *many, inside)} < set(RunRow.objects.values_list("id", flat=True))
    assert RunRow.objects.count() == 6
    assert here.messages() == 1
    assert f"could not ring for run {inside.id} " in caplog.text
    assert "could not ring for 3 runs " in caplog.text


def test_p1_a_lone_run_that_is_refused_leaves_no_message(here: Here) -> None:
    enqueue()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE holdfast_run ADD CONSTRAINT never CHECK (graph <> 'journal') NOT VALID")
    try:
        with pytest.raises(Exception, match="never"):
            enqueue()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE holdfast_run DROP CONSTRAINT never")
    assert RunRow.objects.count() == here.messages() == 1


def test_r15_messages_are_celerys_with_its_signals_and_headers(here: Here) -> None:
    sent: list[str] = []

    def before(sender: str, headers: dict[str, Any], **_: Any) -> None:
        headers["traceparent"] = f"00-{len(sent)}"
        sent.append(sender)

    signals.before_task_publish.connect(before)
    try:
        enqueue()
        enqueue(idempotency_key="k", priority=7, queue="fast")
        holdfast.enqueue_many(requests(2))
    finally:
        signals.before_task_publish.disconnect(before)
    assert sent == ["holdfast.run"] * 4
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT queue, priority, payload::json #>> '{headers,traceparent}', payload::json #>> '{headers,shadow}'"
            " FROM holdfast_broker_message ORDER BY place"
        )
        assert cursor.fetchall() == [
            ("celery", 0, "00-0", "graph:journal"),
            ("fast", 7, "00-1", "graph:journal"),
            ("celery", 0, "00-2", "graph:journal"),
            ("celery", 0, "00-3", "graph:journal"),
        ]


# ── many ──


def test_p1_many_runs_come_back_and_ring_in_the_order_in_which_they_were_given(here: Here) -> None:
    context = {"bytes": b"\x00\xff", "text": 'ü"\\\n😀'}
    given = [
        *requests(3),
        {"graph": "journal", "input": page("x"), "idempotency_key": "b", "priority": 3, "deadline": 60},
        {"graph": "journal", "input": page("x"), "run_after": timedelta(hours=1), "queue": "slow"},
        {"graph": "journal", "input": page("x"), "idempotency_key": "a", "context": context},
        {
            "graph": "journal",
            "input": page("x"),
            "thread_id": "täg",
            "metadata": {"a": ["ü", 1.5, None]},
            "config": {"tags": ["t"]},
            "run_after": datetime.now(UTC) - timedelta(days=1),
            "deadline": datetime.now(UTC) + timedelta(days=1),
        },
    ]
    runs = holdfast.enqueue_many(given)
    assert [run.idempotency_key for run in runs] == [None, None, None, "b", None, "a", None]
    assert [holdfast.get(run.id) for run in runs] == runs
    assert here.rung() == [str(run.id) for run in runs if run.queue != "slow"]
    rows = {row.id: row for row in RunRow.objects.all()}
    lone = [holdfast.enqueue(**{**request, "idempotency_key": None}) for request in given]
    # One by one they are the same, but for ids, keys, threads of their own, and moments.
    same = ("input", "context", "config", "metadata", "priority", "queue", "max_crashes", "request_hash")
    for run, alone in zip(runs, lone, strict=True):
        row = RunRow.objects.get(id=alone.id)
        assert [getattr(rows[run.id], name) for name in same] == [getattr(row, name) for name in same]
        assert (rows[run.id].deadline is None) == (row.deadline is None)
        assert (rows[run.id].rung_at is None) == (row.rung_at is None)


def test_p1_of_many_runs_one_that_is_refused_refuses_all(here: Here) -> None:
    enqueue(idempotency_key="taken")
    last = {"graph": "journal", "input": page("other"), "idempotency_key": "taken"}
    with pytest.raises(IdempotencyConflictError, match="taken"):
        holdfast.enqueue_many([*requests(20), last])
    assert RunRow.objects.count() == Thread.objects.count() == here.messages() == 1


def test_p1_keys_that_are_taken_give_back_their_runs_and_leave_no_thread(here: Here) -> None:
    keyed = [{**request, "idempotency_key": str(number)} for number, request in enumerate(requests(4))]
    first = holdfast.enqueue_many(keyed[:2])
    again = holdfast.enqueue_many([keyed[3], keyed[1], keyed[2], keyed[0], keyed[3]])
    assert [again[1], again[3]] == [first[1], first[0]]
    assert again[4].id == again[0].id
    assert RunRow.objects.count() == Thread.objects.count() == here.messages() == 4


def test_p6_strategies_among_many_see_the_runs_before_them(here: Here) -> None:
    on_thread = {"graph": "journal", "input": page("a"), "thread_id": "t"}
    with pytest.raises(ThreadBusyError):
        holdfast.enqueue_many([*requests(2), on_thread, {**on_thread, "multitask_strategy": "reject"}])
    assert RunRow.objects.count() == here.messages() == 0
    runs = holdfast.enqueue_many(
        [
            {**on_thread, "multitask_strategy": "reject"},
            on_thread,
            {**on_thread, "multitask_strategy": "interrupt"},
            on_thread,
        ]
    )
    statuses = [holdfast.get(run.id).status for run in runs]
    assert statuses == ["cancelled", "cancelled", "queued", "queued"]


def test_r20_many_on_the_same_threads_and_keys_in_opposite_order_meet_without_deadlock(here: Here) -> None:
    """Both sessions insert at once, again and again; PostgreSQL ends a deadlock after a second."""
    rounds, size = 6, 60
    failures: list[BaseException] = []
    start = threading.Barrier(2)

    def hand_in(turn: int) -> None:
        try:
            for number in range(rounds):
                given = [
                    {
                        "graph": "journal",
                        "input": page("a"),
                        "thread_id": f"t{number}.{index}",
                        "idempotency_key": f"k{number}.{size - index}",
                    }
                    for index in range(size)
                ]
                start.wait(30)
                holdfast.enqueue_many(given[:: 1 if turn else -1])
        except BaseException as error:  # it is told by the test's own thread
            failures.append(error)
            start.abort()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=hand_in, args=(turn,)) for turn in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures
    assert RunRow.objects.count() == Thread.objects.count() == rounds * size
