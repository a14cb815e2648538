"""The PostgreSQL broker as kombu sees it, by URL: routing, taking, answering, expiring, sharing, failing."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.asynchronous import Hub
from kombu.exceptions import ChannelError, OperationalError

import holdfast.runner.broker  # noqa: F401 - makes the URLs known
from holdfast.runner.broker import rounds, transport
from holdfast.runner.broker.routing import topic_pattern
from tests.servers import PrivatePostgres, private_postgres

__all__ = ["private_postgres"]


class Broker:
    """A schema of one test's own, which the transport fills; the search_path leads to it."""

    def __init__(self, server: PrivatePostgres) -> None:
        self.server = server
        self.schema = f"s{uuid4().hex}"
        with server.connect() as admin:
            admin.execute(f"CREATE SCHEMA {self.schema}")
        self.url = f"holdfast+{server.dsn()}?options=-csearch_path%3D{self.schema}"
        self._open: list[Connection] = []

    def connect(self, **options: Any) -> Connection:
        """A kombu connection with a session of its own, as if it were another process's."""
        connection = Connection(self.url, **options)
        connection.connect()
        connection.transport.link.open()
        self._open.append(connection)
        return connection

    def ask(self, question: str, *parameters: Any) -> Any:
        with self.server.connect() as connection:
            connection.execute(f"SET search_path = {self.schema}")
            row = connection.execute(question, parameters or None).fetchone()
        return row and row[0]

    def close(self) -> None:
        for connection in self._open:
            connection.release()


@pytest.fixture
def broker(private_postgres: PrivatePostgres) -> Iterator[Broker]:
    broker = Broker(private_postgres)
    yield broker
    broker.close()


def put(connection: Connection, queue: str, body: Any, **options: Any) -> None:
    Producer(connection.default_channel).publish(body, routing_key=queue, **options)


def get(connection: Connection, queue: str) -> Any:
    return connection.default_channel.basic_get(queue)


def body(connection: Connection, queue: str) -> Any:
    """Take, acknowledge, and return the body; None if there is nothing."""
    message = get(connection, queue)
    if message is None:
        return None
    message.ack()
    return message.payload


def test_messages_come_in_order_and_the_higher_priority_first(broker: Broker) -> None:
    connection = broker.connect()
    for number, priority in enumerate([0, 5, 0, 9]):
        put(connection, "q", number, priority=priority)
    assert [body(connection, "q") for _ in range(5)] == [3, 1, 0, 2, None]


def test_a_batch_is_put_in_by_one_statement_in_its_order(broker: Broker) -> None:
    connection = broker.connect()
    producer = Producer(connection.default_channel)
    queue = Queue("q", Exchange("q", "topic"), "q.#")
    assert producer.supports_batch_publish
    with producer.batch() as batch:
        producer.publish("a", exchange="q", routing_key="q.a", declare=[queue])
        producer.publish("b", exchange="", routing_key="q")
        producer.publish("other", exchange="", routing_key="other", expiration=60)
        assert broker.ask("SELECT count(*) FROM holdfast_broker_message") == 0
        batch.flush()
        assert broker.ask("SELECT count(DISTINCT xmin::text) FROM holdfast_broker_message") == 1
        producer.publish("c", exchange="", routing_key="q")
    assert [body(connection, "q") for _ in range(4)] == ["a", "b", "c", None]
    assert broker.ask("SELECT expires_at IS NOT NULL FROM holdfast_broker_message WHERE queue = 'other'")
    with suppress(ZeroDivisionError), producer.batch():
        producer.publish("lost", exchange="", routing_key="q")
        _ = 1 / 0
    assert body(connection, "q") is None


def test_a_take_that_was_planned_on_an_empty_table_reads_no_backlog(broker: Broker) -> None:
    """Whatever way the planner chose: by the number of rows that the prepared statement looks at."""
    connection = broker.connect()
    assert get(connection, "q") is None
    session = connection.transport.link.session
    with broker.server.connect() as admin:
        admin.execute(f"SET search_path = {broker.schema}")
        admin.execute(
            "INSERT INTO holdfast_broker_message (queue, payload) SELECT 'q', '{}' FROM generate_series(1, 20000)"
        )
    with session._using() as raw:
        ((name,),) = raw.execute(
            "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%taken AS (%' AND statement LIKE '%UPDATE%'"
            " AND statement NOT LIKE '%pg_prepared_statements%'"
        ).fetchall()
        ((answer,),) = raw.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {name}(ARRAY['q', 'r'], 2::smallint, {session.pid}, '{session.start}')"
        ).fetchall()
    looked_at = [rows for node, rows in _scans(answer[0]["Plan"]) if node == "Index Scan"]
    assert looked_at
    assert sum(looked_at) < 100


def _scans(plan: dict[str, Any]) -> Iterator[tuple[str, float]]:
    seen = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    yield plan["Node Type"], seen * plan["Actual Loops"]
    for part in plan.get("Plans", ()):
        yield from _scans(part)


def test_queues_take_turns_so_that_a_short_one_is_not_behind_a_long_one(broker: Broker) -> None:
    connection = broker.connect()
    for number in range(20):
        put(connection, "long", number)
    for number in range(2):
        put(connection, "short", 100 + number)
    seen: list[int] = []

    def note(content: int, message: Any) -> None:
        seen.append(content)
        message.ack()

    with Consumer(connection, [Queue("long"), Queue("short")], callbacks=[note]):
        for _ in range(6):
            connection.drain_events(timeout=5)
    assert [number for number in seen if number >= 100] == [100, 101]


def test_acknowledged_is_deleted_rejected_is_deleted_requeued_is_first_again(broker: Broker) -> None:
    connection = broker.connect()
    for word in ("a", "b", "c"):
        put(connection, "q", word)
    get(connection, "q").ack()
    assert broker.ask("SELECT count(*) FROM holdfast_broker_message") == 2
    get(connection, "q").requeue()
    again = get(connection, "q")
    assert again.payload == "b"
    assert again.delivery_info["redelivered"]
    again.reject()
    assert body(connection, "q") == "c"
    assert broker.ask("SELECT count(*) FROM holdfast_broker_message") == 0


def test_what_is_held_is_invisible_to_others_and_visible_at_once_when_the_holder_leaves(
    broker: Broker,
) -> None:
    first, second = broker.connect(), broker.connect()
    put(first, "q", "a")
    message = get(first, "q")
    assert get(second, "q") is None
    first.release()
    assert body(second, "q") == "a"
    assert message is not None


def test_r18_what_a_gone_session_held_is_swept_to_others_and_what_an_unknown_one_holds_is_not(
    broker: Broker,
) -> None:
    first, second = broker.connect(), broker.connect()
    put(first, "q", "gone")
    put(first, "q", "unknown")
    kept = [get(first, "q"), get(first, "q")]
    broker.ask(
        "WITH changed AS (UPDATE holdfast_broker_message SET holder_start = NULL "
        "WHERE id = %s RETURNING 1) SELECT count(*) FROM changed",
        kept[1].delivery_tag,
    )
    broker.ask("SELECT pg_terminate_backend(%s)", first.transport.link.session.pid)
    seen = []

    def note(content: str, message: Any) -> None:
        seen.append(content)
        message.ack()

    with Consumer(second, [Queue("q")], callbacks=[note]):
        second.drain_events(timeout=15)
        with pytest.raises(TimeoutError):
            second.drain_events(timeout=2.5)
    assert seen == ["gone"]
    assert len(kept) == 2


def test_r18_a_holder_that_reconnects_keeps_what_it_works_on_and_gives_back_what_it_forgot(
    broker: Broker,
) -> None:
    connection, other = broker.connect(), broker.connect()
    put(connection, "q", "kept")
    put(connection, "q", "forgotten")
    kept = get(connection, "q")
    assert get(connection, "q").payload == "forgotten"
    broker.ask("SELECT pg_terminate_backend(%s)", connection.transport.link.session.pid)
    with pytest.raises(OperationalError):
        get(connection, "q")
    connection.collect()
    assert get(connection, "none") is None  # a new session
    assert body(other, "q") == "forgotten"
    kept.ack()
    assert broker.ask("SELECT count(*) FROM holdfast_broker_message") == 0


def test_r18_an_answer_given_while_the_database_is_away_is_delivered_later(broker: Broker) -> None:
    connection = broker.connect()
    put(connection, "q", "a")
    put(connection, "q", "b")
    done, back = get(connection, "q"), get(connection, "q")
    broker.ask("SELECT pg_terminate_backend(%s)", connection.transport.link.session.pid)
    done.ack()
    back.requeue()
    connection.collect()
    assert body(connection, "q") == "b"
    assert body(connection, "q") is None


def test_r18_a_place_freed_by_another_thread_wakes_the_consumer(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "LOOK", 60.0)  # so that nothing but the pipe can
    connection = broker.connect()
    seen: list[Any] = []
    with Consumer(connection, [Queue("q")], on_message=seen.append, prefetch_count=1):
        put(connection, "q", 1)
        put(connection, "q", 2)
        connection.drain_events(timeout=5)
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.3)
        timer = threading.Timer(0.3, seen[0].ack)
        timer.start()
        connection.drain_events(timeout=20)
        timer.join()
        seen[1].ack()


def test_r18_a_message_wakes_the_consumer(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LOOK", 60.0)  # so that nothing but LISTEN can
    connection, publisher = broker.connect(), broker.connect()
    with Consumer(connection, [Queue("q")], on_message=lambda message: message.ack()):
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.1)
        timer = threading.Timer(0.2, put, (publisher, "q", 1))
        timer.start()
        connection.drain_events(timeout=20)
        timer.join()


def test_r18_a_consumer_that_no_notice_reaches_looks_after_five_seconds(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one of them is waited for: the clock of the rounds is moved, and a sleep is at most one round."""
    passed = 0.0
    monkeypatch.setattr(rounds, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + passed))
    connection, loop = broker.connect(), Hub()
    with Consumer(connection, [Queue("q")], on_message=lambda message: message.ack()):
        with pytest.raises(TimeoutError):  # the first look finds nothing, and the next is a while away
            connection.drain_events(timeout=0.1)
        put(connection, "other", 1)  # whose consumers alone are told
        assert broker.ask("UPDATE holdfast_broker_message SET queue = 'q' RETURNING queue") == "q"
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.1)
        passed = 5.0
        connection.drain_events(timeout=0.5)
        connection.transport.register_with_event_loop(connection, loop)
        assert 0 < loop.fire_timers() <= 1.0  # what Celery's event loop sleeps at most between two rounds
        connection.close()
    loop.close()


@pytest.mark.parametrize(
    ("binding", "matching", "other"),
    [
        ("a.*", ["a.b"], ["a", "a.b.c", "b.a"]),
        ("a.#", ["a", "a.b", "a.b.c"], ["ab", "b.a"]),
        ("#", ["", "a", "a.b"], []),
        ("#.z", ["z", "a.z", "a.b.z"], ["az"]),
        ("*.b.#", ["a.b", "a.b.c.d"], ["b", "a.c"]),
        ("a.#.z", ["a.z", "a.b.c.z"], ["a", "az"]),
        ("task-x.(y)", ["task-x.(y)"], ["task-x.y"]),
    ],
)
def test_topics_match_words(broker: Broker, binding: str, matching: list[str], other: list[str]) -> None:
    pattern = topic_pattern(binding)
    for key in matching:
        assert broker.ask("SELECT %s::text ~ %s", key, pattern), key
    for key in other:
        assert not broker.ask("SELECT %s::text ~ %s", key, pattern), key


def test_exchanges_route_directly_by_topic_and_to_everybody(broker: Broker) -> None:
    connection, publisher = broker.connect(), broker.connect()
    channel = connection.default_channel
    for kind, key in (("direct", "k"), ("topic", "k.*"), ("fanout", "")):
        exchange = Exchange(kind, kind)
        for number in range(2):
            Queue(f"{kind}{number}", exchange, key)(channel).declare()
    producer = Producer(publisher.default_channel)
    producer.publish("d", exchange="direct", routing_key="k")
    producer.publish("d", exchange="direct", routing_key="other")
    producer.publish("t", exchange="topic", routing_key="k.x")
    producer.publish("t", exchange="topic", routing_key="k")
    producer.publish("f", exchange="fanout", routing_key="whatever")
    for kind in ("direct", "topic", "fanout"):
        for number in range(2):
            assert body(connection, f"{kind}{number}") == kind[0]
            assert body(connection, f"{kind}{number}") is None


def test_sizes_purges_and_passive_declarations(broker: Broker) -> None:
    connection = broker.connect()
    channel = connection.default_channel
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        channel.queue_declare("q", passive=True)
    channel.queue_declare("q")
    for number in range(3):
        put(connection, "q", number)
    held = get(connection, "q")
    assert channel.queue_declare("q", passive=True).message_count == 2
    assert channel.queue_purge("q") == 2
    held.requeue()
    assert body(connection, "q") == 0
    channel.queue_delete("q")
    assert broker.ask("SELECT count(*) FROM holdfast_broker_queue") == 0


def test_messages_expire_by_themselves_and_by_their_queue(broker: Broker) -> None:
    connection = broker.connect()
    channel = connection.default_channel
    Queue("short", message_ttl=30)(channel).declare()
    put(connection, "short", "by queue")
    put(connection, "q", "by itself", expiration=30)
    put(connection, "q", "stays")
    # Half a minute later, without the wait.
    aged = broker.ask(
        """
        WITH aged AS (
            UPDATE holdfast_broker_message SET expires_at = expires_at - interval '31 seconds'
            WHERE expires_at IS NOT NULL RETURNING id
        ) SELECT count(*) FROM aged
        """
    )
    assert aged == 2
    assert body(connection, "short") is None
    assert body(connection, "q") == "stays"


def test_queues_go_with_their_consumer_and_with_their_session(broker: Broker) -> None:
    first, second = broker.connect(), broker.connect()
    fan = Exchange("fan", "fanout", durable=False)
    with Consumer(first, [Queue("auto", fan, auto_delete=True)], on_message=print):
        assert broker.ask("SELECT count(*) FROM holdfast_broker_queue") == 1
    assert broker.ask("SELECT count(*) FROM holdfast_broker_queue") == 0
    Consumer(first, [Queue("auto", fan, auto_delete=True)], on_message=print).consume()
    Queue("unused", fan, expires=0.5)(first.default_channel).declare()
    Producer(second.default_channel).publish("x", exchange="fan")
    assert broker.ask("SELECT count(*) FROM holdfast_broker_message") == 2
    broker.ask("SELECT pg_terminate_backend(%s)", first.transport.link.session.pid)
    with Consumer(second, [Queue("other")], on_message=print), pytest.raises(TimeoutError):
        second.drain_events(timeout=2.5)
    assert broker.ask("SELECT string_agg(name, ',') FROM holdfast_broker_queue") == "other"
    assert broker.ask("SELECT count(*) FROM holdfast_broker_binding") == 0
    assert broker.ask("SELECT count(*) FROM holdfast_broker_message") == 0


def test_a_fanout_without_listeners_stores_nothing(broker: Broker) -> None:
    connection = broker.connect()
    Producer(connection.default_channel, Exchange("celeryev", "topic")).publish(
        "x", routing_key="worker.heartbeat"
    )
    assert broker.ask("SELECT count(*) FROM holdfast_broker_message") == 0


def test_bodies_are_kept_as_they_are(broker: Broker) -> None:
    connection = broker.connect()
    for content in ("nul \x00 in it", "ünïcode 🦑", {"nested": [1, None, True]}):
        put(connection, "q", content)
        assert body(connection, "q") == content
    put(connection, "q", b"\x00\xff", serializer="raw")
    message = get(connection, "q")
    message.ack()
    assert bytes(message.body) == b"\x00\xff"


UNREADABLE = {
    "no JSON": "not json",
    "no message": "[]",
    "nested too deep": "[" * 100_000,
    "no properties": '{"body": "x"}',
    "no way of delivery": '{"body": "x", "properties": {"delivery_info": null}}',
    "no base64": '{"body": "x", "properties": {"body_encoding": "base64", "delivery_info": {}}}',
    "no known encoding": '{"body": "x", "properties": {"body_encoding": "rot13", "delivery_info": {}}}',
    "no text": '{"body": 5, "properties": {"delivery_info": {}}}',
}


@pytest.mark.parametrize("payload", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("no_ack", [False, True], ids=["acknowledged", "not acknowledged"])
def test_p1_a_message_that_nobody_can_read_is_deleted_and_told_of_once(
    broker: Broker, payload: str, no_ack: bool, caplog: pytest.LogCaptureFixture
) -> None:
    connection = broker.connect()
    seen: list[Any] = []

    def keep(body: Any, _: Any) -> None:
        seen.append(body)

    for way in ("consumed", "asked for"):
        caplog.clear()
        broken = broker.ask(
            "INSERT INTO holdfast_broker_message (queue, payload) VALUES ('q', %s) RETURNING id", payload
        )
        put(connection, "q", "sound")
        if way == "consumed":
            with Consumer(connection, Queue("q"), callbacks=[keep], no_ack=no_ack):
                while not seen:
                    connection.drain_events(timeout=5)
            assert seen == ["sound"]
        else:
            assert connection.default_channel.basic_get("q", no_ack=no_ack).decode() == "sound"
        assert broker.ask("SELECT count(*) FROM holdfast_broker_message WHERE id = %s", broken) == 0
        assert [record.name for record in caplog.records if str(broken) in record.message] == [
            "holdfast.broker"
        ]
        broker.ask("DELETE FROM holdfast_broker_message RETURNING 1")


def test_many_consumers_take_each_message_once(broker: Broker) -> None:
    publisher = broker.connect()
    for number in range(120):
        put(publisher, "q", number)
    seen: list[int] = []

    def work() -> None:
        with Connection(broker.url) as connection:
            while (content := body(connection, "q")) is not None:
                seen.append(content)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(120))


def test_first_use_at_the_same_time_makes_the_tables_once(broker: Broker) -> None:
    errors: list[BaseException] = []

    def begin() -> None:
        try:
            with Connection(broker.url) as connection:
                put(connection, "q", 1)
        except BaseException as error:  # for the test to look at
            errors.append(error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert broker.ask("SELECT count(*) FROM holdfast_broker_message") == 8


def test_p1_a_database_that_refuses_or_is_silent_costs_a_second_and_raises_operational_error() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        for listening in (False, True):
            if listening:
                silent.listen()
            url = f"holdfast+postgresql://u@127.0.0.1:{port}/d"
            with Connection(url, transport_options={"max_retries": 0}) as connection:
                begun = time.monotonic()
                with pytest.raises(OperationalError):
                    put(connection, "q", 1)
                assert time.monotonic() - begun < 1.9  # 1 s, and a busy machine


def test_a_forked_child_leaves_the_parent_its_session(broker: Broker) -> None:
    connection = broker.connect()
    put(connection, "q", "parent")
    held = get(connection, "q")
    pid = connection.transport.link.session.pid
    child = os.fork()
    if child == 0:
        try:
            with Connection(broker.url) as own:
                put(own, "q", "child")
            put(connection, "q", "child again")  # what it inherited works too, on a session of its own
            connection.release()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert connection.transport.link.session.pid == pid
    held.ack()
    assert {body(connection, "q"), body(connection, "q")} == {"child", "child again"}


def test_the_password_is_never_shown(broker: Broker) -> None:
    connection = Connection("holdfast+postgresql://me:secret@127.0.0.1:1/d?password=secret")
    assert "secret" not in connection.as_uri()
    assert "secret" not in repr(connection)
    assert "secret" in connection.as_uri(include_password=True)


def test_simple_queues_time_out(broker: Broker) -> None:
    connection = broker.connect()
    with connection.SimpleQueue("q") as queue:
        with pytest.raises(Empty):
            queue.get(timeout=0.1)
        with pytest.raises(Empty):
            queue.get_nowait()
        queue.put({"a": 1})
        message = queue.get(timeout=5)
        message.ack()
        assert message.payload == {"a": 1}
        assert queue.qsize() == 0


def test_a_second_schema_of_the_same_database_is_another_broker(broker: Broker) -> None:
    other = Broker(broker.server)
    try:
        put(broker.connect(), "q", "mine")
        assert body(other.connect(), "q") is None
    finally:
        other.close()


def test_it_needs_no_superuser(broker: Broker) -> None:
    role = f"r{uuid4().hex[:12]}"
    broker.ask(
        f"DO $$ BEGIN CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA {broker.schema} TO {role}; END $$"
    ) if False else None
    with broker.server.connect() as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN")
        admin.execute(f"GRANT ALL ON SCHEMA {broker.schema} TO {role}")
    with Connection(broker.url.replace("postgres@", f"{role}@")) as connection:
        put(connection, "q", 1)
        assert body(connection, "q") == 1


def test_a_connection_error_is_one_that_celery_recovers_from(broker: Broker) -> None:
    connection = broker.connect()
    with Consumer(connection, [Queue("q")], on_message=print):
        broker.ask("SELECT pg_terminate_backend(%s)", connection.transport.link.session.pid)
        with pytest.raises(connection.recoverable_connection_errors):
            connection.drain_events(timeout=10)
    assert not connection.connected
