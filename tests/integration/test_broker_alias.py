"""The PostgreSQL broker on a Django alias: transactional publishing, and no connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection as database
from django.db import connections, transaction
from kombu import Connection, Exchange, Producer, Queue
from kombu.exceptions import OperationalError

import holdfast.runner.broker  # noqa: F401 - makes the URLs known

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broker() -> Iterator[Connection]:
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM holdfast_broker_message; DELETE FROM holdfast_broker_queue")
    with Connection("holdfast://default") as connection:
        yield connection
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM holdfast_broker_message; DELETE FROM holdfast_broker_queue")


def ask(question: str) -> Any:
    with database.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


def backends() -> int:
    return int(ask("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"))


def put(connection: Connection, content: Any, queue: Queue | None = None) -> None:
    queue = queue or Queue("q", Exchange("q"), "q")
    Producer(connection.default_channel).publish(
        content, exchange="", routing_key=queue.name, declare=[queue]
    )


def test_publishing_opens_no_connection_beyond_djangos(broker: Connection) -> None:
    before = backends()
    put(broker, "a")
    assert backends() == before
    assert ask("SELECT count(*) FROM holdfast_broker_message") == 1


def test_p1_a_message_commits_and_rolls_back_with_the_transaction(broker: Connection) -> None:
    with transaction.atomic():
        put(broker, "lost")
        transaction.set_rollback(True)
    with transaction.atomic():
        put(broker, "kept")
        with Connection("holdfast://default") as consumer:
            assert consumer.default_channel.basic_get("q") is None
    with Connection("holdfast://default") as consumer:
        message = consumer.default_channel.basic_get("q")
        assert message.payload == "kept"
        message.ack()
        assert consumer.default_channel.basic_get("q") is None


def test_a_declaration_inside_a_transaction_holds_nobody_up_and_survives_a_rollback(
    broker: Connection,
) -> None:
    queue = Queue("topical", Exchange("news", "topic"), "news.#")

    def publish(connection: Connection) -> None:
        Producer(connection.default_channel).publish(
            "x", exchange="news", routing_key="news.x", declare=[queue]
        )

    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            with database.cursor() as cursor:
                cursor.execute("SET lock_timeout = '2s'")
            with Connection("holdfast://default") as connection:
                put(connection, "y", queue)
        except BaseException as error:  # for the test to look at
            errors.append(error)
        finally:
            connections.close_all()

    with transaction.atomic():
        publish(broker)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        transaction.set_rollback(True)
    assert not errors
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM holdfast_broker_message; DELETE FROM holdfast_broker_queue")
    with transaction.atomic():
        publish(broker)  # kombu does not declare again; the routing is known all the same
    assert ask("SELECT string_agg(queue, ',') FROM holdfast_broker_message") == "topical"
    assert ask("SELECT count(*) FROM holdfast_broker_binding") == 1


def test_a_consuming_process_publishes_over_its_one_session(broker: Connection) -> None:
    before = backends()
    assert broker.default_channel.basic_get("q") is None
    with Connection("holdfast://default") as other:
        put(other, "a")
    assert backends() == before + 1
    message = broker.default_channel.basic_get("q")
    message.ack()
    assert message.payload == "a"


def test_a_stale_connection_of_django_is_one_operational_error_and_then_mended(broker: Connection) -> None:
    put(broker, "a")
    pid = ask("SELECT pg_backend_pid()")

    def end() -> None:
        with database.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        connections.close_all()

    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
    with pytest.raises(OperationalError):
        put(broker, "b")
    put(broker, "c")
    assert ask("SELECT count(*) FROM holdfast_broker_message") == 2


def test_an_unmigrated_database_is_named_with_its_remedy(broker: Connection) -> None:
    with transaction.atomic():
        with database.cursor() as cursor:
            cursor.execute("ALTER TABLE holdfast_broker_message RENAME TO elsewhere")
        with pytest.raises(OperationalError, match=r"manage\.py migrate"):
            put(broker, "a")
        transaction.set_rollback(True)


def test_an_unknown_alias_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="holdfast://default"),
        Connection("holdfast://a:b@c/d") as connection,
    ):
        connection.connect()
