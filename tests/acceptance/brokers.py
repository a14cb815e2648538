"""The three brokers that the promises are tested on, and how to make each lose everything."""

from __future__ import annotations

import os
import uuid
from typing import Protocol
from urllib.parse import urlsplit

import psutil
import pytest
from kombu import Connection

from tests.acceptance.databases import Database

BROKERS = ("holdfast", "redis", "rabbitmq")


class Broker(Protocol):
    """A broker of one test module."""

    url: str
    queue: str

    def messages(self) -> int:
        """How many messages wait, the recovery queue's among them; -1 where the broker cannot say."""

    def lose_everything(self) -> None:
        """Forget every message, also those that workers hold unacknowledged where the broker can."""

    def close(self) -> None:
        """Remove what is left."""


def absent(service: str, why: object) -> None:
    """Skip the test on a laptop; fail it where ``CI=true``, since there every service must answer."""
    message = f"{service} does not answer: {why}"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def open_broker(name: str, database: Database) -> Broker:
    """The broker of that name with nothing in it; skips or fails the test if it does not answer."""
    return {"holdfast": PostgresBroker, "redis": RedisBroker, "rabbitmq": RabbitBroker}[name](database)


class PostgresBroker:
    """Our own transport on the database of the runs."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.url = "holdfast://default"
        self.queue = "celery"

    def messages(self) -> int:
        with self.database.connect() as connection:
            row = connection.execute("SELECT count(*) FROM holdfast_broker_message").fetchone()
            return int(row[0]) if row else 0

    def lose_everything(self) -> None:
        with self.database.connect() as connection:
            connection.execute("DELETE FROM holdfast_broker_message")

    def close(self) -> None:
        """Nothing: the messages go with the database."""


class RedisBroker:
    """A numbered Redis database that was empty, marked as ours while we use it."""

    MARK = "holdfast:test-suite"
    TAKE = """
    local mark, count = redis.call('GET', KEYS[1]), redis.call('DBSIZE')
    if count == 0 or mark and mark == ARGV[2] then redis.call('SET', KEYS[1], ARGV[1]) return 1 end
    return 0
    """
    """Takes the database in one step, if it is empty or its mark is that of a process that is gone."""

    def __init__(self, database: Database | None = None) -> None:
        import redis

        base = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
        place = urlsplit(base)._replace(path="", query="").geturl()
        self.queue = "celery"
        self._mark = f"{os.uname().nodename} {os.getpid()}"
        try:
            for number in range(15, 1, -1):
                self.url = f"{place}/{number}"
                self._client = redis.Redis.from_url(self.url)
                if self._client.eval(self.TAKE, 1, self.MARK, self._mark, self._abandoned()):
                    break
                self._client.close()
            else:
                absent("An empty Redis database", place)
        except redis.RedisError as error:
            absent("Redis", error)
        self.lose_everything()

    def _abandoned(self) -> str:
        """The mark, if a test process that is gone by now left it behind."""
        mark = (self._client.get(self.MARK) or b"").decode()
        host, _, pid = mark.rpartition(" ")
        if host == os.uname().nodename and not psutil.pid_exists(int(pid)):
            return mark
        return ""

    def messages(self) -> int:
        lists = [key for key in self._client.keys("*") if self._client.type(key) == b"list"]
        return sum(int(self._client.llen(key)) for key in lists)

    def lose_everything(self) -> None:
        with self._client.pipeline(transaction=True) as at_once:  # without its mark it is anybody's
            at_once.flushdb().set(self.MARK, self._mark).execute()

    def close(self) -> None:
        self._client.flushdb()
        self._client.close()


class RabbitBroker:
    """Quorum queues under a name of their own, deleted at the end."""

    def __init__(self, database: Database) -> None:
        self.url = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")
        self.queue = f"test-{uuid.uuid4().hex[:12]}"
        try:
            with Connection(self.url, connect_timeout=2) as connection:
                connection.ensure_connection(max_retries=1)
        except (OSError, Connection(self.url).connection_errors) as error:
            absent("RabbitMQ", error)

    def _each(self, method: str) -> list[object]:
        answers = []
        with Connection(self.url) as connection:
            for queue in (self.queue, f"{self.queue}.recovery"):
                with connection.channel() as channel:
                    try:
                        if method == "size":
                            answers.append(channel.queue_declare(queue, passive=True).message_count)
                        else:
                            answers.append(getattr(channel, method)(queue))
                    except connection.channel_errors:  # it was never declared
                        continue
        return answers

    def messages(self) -> int:
        return sum(int(str(size)) for size in self._each("size"))

    def lose_everything(self) -> None:
        self._each("queue_purge")

    def close(self) -> None:
        self._each("queue_delete")


every_broker = pytest.mark.parametrize("broker", BROKERS, indirect=True, scope="module")
"""Mark for a test that must hold on each broker."""
