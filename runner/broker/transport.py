"""The transport: which connection a statement takes, and how a consumer sleeps and wakes.

Everything of one kombu connection that consumes shares one PostgreSQL session, with Celery's event
loop as well as with blocking ``drain_events``. A waiting consumer sleeps on the session's socket
(LISTEN) and on a pipe that its own acknowledgements write to, and never for more than five seconds.
"""

from __future__ import annotations

import logging
import os
import random
import select
import threading
import time
from contextlib import suppress
from typing import Any

from kombu.asynchronous import get_event_loop
from kombu.exceptions import ChannelError, ConnectionError
from kombu.transport import virtual

from holdfast.runner.broker import django_publisher
from holdfast.runner.broker.address import Address, resolve
from holdfast.runner.broker.channel import BATCH, Channel
from holdfast.runner.broker.errors import BrokerConnectionError, BrokerSchemaError
from holdfast.runner.broker.holding import Holding, holding
from holdfast.runner.broker.session import CONNECT_TIMEOUT, Session

logger = logging.getLogger("holdfast.broker")

LOOK = 1.0
"""Seconds between two sweeps of a consumer."""
POLL = 5.0
"""Seconds after which a consumer looks for messages though nothing woke it."""
GRACE = 15.0
"""Seconds after a restart of the server during which holders may come back for their messages;
the transport option ``grace`` changes it."""
UNDECLARED = 600.0
"""Seconds between two sweeps of messages whose queue nobody declared."""

_home = os.getpid()


class Transport(virtual.Transport):
    """kombu's side of one connection."""

    Channel = Channel
    can_parse_url = True
    driver_type = "postgresql"
    driver_name = "psycopg"
    connection_errors = (BrokerConnectionError, ConnectionError)
    channel_errors = (ChannelError, BrokerSchemaError)
    recoverable_connection_errors = (BrokerConnectionError, ConnectionError)
    recoverable_channel_errors = ()
    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset(["direct", "topic", "fanout"]), heartbeats=False
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.address: Address = resolve(client)
        self.bound: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
        self.transient: set[str] = set()
        self._deferred: list[tuple[str, dict[str, Any]]] = []
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self.holding: Holding = holding(self.address)
        self._session: Session | None = None
        self._consuming = False
        self._loop: Any = None
        self._timer: Any = None
        self._thread = threading.get_ident()
        self._heard: dict[str, str] = {}
        self._pipe: tuple[int, int] | None = None
        self._next_look = self._next_poll = 0.0
        self._next_undeclared = time.monotonic() + UNDECLARED * random.random()  # noqa: S311 - spread, not secret

    def driver_version(self) -> str:
        import psycopg

        return psycopg.__version__

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        return self.address.shown(include_password, mask)

    # sessions and statements

    def establish_connection(self) -> Any:
        """Make sure that there is a way to the broker. Raises BrokerConnectionError.

        An alias is published to through Django's own connection, which is opened at the first
        statement; a process with an event loop is going to consume and opens its session here.
        """
        if self._process != os.getpid():
            self._reset()
            self.channels.clear()
            self._avail_channels.clear()
        elif self._session is not None and not self._session.usable:
            self._abandon()
        works = get_event_loop() is not None and os.getpid() == _home
        if (self.address.alias is None or works) and self.holding.live() is None:
            self._own_session()
        return super().establish_connection()

    def verify_connection(self, connection: Any) -> bool:
        return self._process == os.getpid() and (self._session is None or self._session.usable)

    def _own_session(self) -> Session:
        if self._session is None:
            timeout = float(self.client.transport_options.get("connect_timeout", CONNECT_TIMEOUT))
            self._session = Session(self.address, on_notify=self._on_notify, timeout=timeout)
        return self._session

    def _consuming_session(self) -> Session:
        session = self._own_session()
        if not self._consuming:
            if session.shared_by_a_pooler():
                raise BrokerConnectionError(
                    "A consumer needs a session of its own, and this address leads to a pooler: "
                    "LISTEN does not work through it. Point the broker at the server itself."
                )
            self.holding.joined(session)
            self._consuming = True
            self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        return session

    def _way(self, *, transactional: bool = False) -> Session | None:
        """The session for a statement; None stands for Django's connection of this thread."""
        if transactional and self.address.alias is not None and django_publisher.in_transaction(self.address):
            return None
        if self._session is not None and self._session.usable:
            return self._session
        if (session := self.holding.live()) is not None:
            return session
        return None if self.address.alias is not None else self._own_session()

    def rows(self, name: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement that answers."""
        session = self._way()
        return (
            session.rows(name, parameters)
            if session
            else django_publisher.rows(self.address, name, parameters)
        )

    def count(self, name: str, parameters: dict[str, Any] | None = None) -> int:
        """Run a statement that changes rows; their number."""
        session = self._way()
        return (
            session.count(name, parameters)
            if session
            else django_publisher.count(self.address, name, parameters)
        )

    def publish(self, parameters: dict[str, Any]) -> None:
        """Put a message in its queues, within the caller's transaction if it is one of the alias."""
        if self._deferred:
            self._declare_deferred()
        session = self._way(transactional=True)
        if session:
            session.rows("publish", parameters)
        else:
            django_publisher.rows(self.address, "publish", parameters)

    def declare(self, name: str, parameters: dict[str, Any], *, belongs_to_session: bool = False) -> None:
        """Write a queue or a binding, never inside the caller's transaction.

        There it would hold up everybody else who declares the same, and be lost with a rollback
        though kombu remembers it as done; so it waits for the commit, or for the next chance.
        """
        if name == "declare_queue":
            own = self._session if belongs_to_session else None
            parameters = {**parameters, "pid": own and own.pid, "start": own and own.start}
        if self.address.alias is not None and django_publisher.in_transaction(self.address):
            if not self._deferred:
                django_publisher.on_commit(self.address, self._declare_deferred)
            self._deferred.append((name, parameters))
            return
        self.count(name, parameters)

    def _declare_deferred(self) -> None:
        if self.address.alias is not None and django_publisher.in_transaction(self.address):
            return
        while self._deferred:
            self.count(*self._deferred[0])
            del self._deferred[0]

    def take(self, name: str, queues: list[str], limit: int) -> tuple[list[tuple[str, str, str, bool]], bool]:
        """(id, queue, payload, redelivered) of the taken, and whether others were quicker at some."""
        session = self._consuming_session()
        rows = session.rows(name, {"queues": queues, "limit": limit, **session.names})
        taken = [(str(row[0]), row[1], row[2], row[3]) for row in rows if row[0] is not None]
        return taken, not taken and rows[0][4] > 0

    # consuming

    def begin_consuming(self, queue: str) -> None:
        """Listen to the queue's channel; the consumer looks once after that."""
        session = self._consuming_session()
        ((channel,),) = session.rows("channel", {"queue": queue})
        session.listen(channel)
        self._heard[channel] = queue
        session.count("consume_queue", {"queue": queue, **session.names})

    def end_consuming(self, queue: str) -> None:
        """The last consumer of the queue on this connection has gone."""
        session = self._session
        if session is None or not session.usable or any(each.consumes(queue) for each in self.channels):
            return
        for channel in [name for name, heard in self._heard.items() if heard == queue]:
            session.unlisten(channel)
            del self._heard[channel]
        session.count("leave_queue", {"queue": queue, **session.names})

    def _on_notify(self, name: str) -> None:
        queue = self._heard.get(name)
        for channel in list(self.channels):
            if queue is not None and channel.consumes(queue):
                channel.dirty = True
        if threading.get_ident() != self._thread:
            self.wake()

    def wake(self) -> None:
        """End the consumer's sleep; called by any thread."""
        if self._pipe is not None and threading.get_ident() != self._thread:
            with suppress(OSError):  # full: it is awake already
                os.write(self._pipe[1], b"\0")

    def _drain_pipe(self) -> None:
        if self._pipe is not None:
            with suppress(BlockingIOError):
                os.read(self._pipe[0], 4096)

    def _look(self) -> None:
        """Sweep, about once a second, and look for messages that nobody told of, every five."""
        now = time.monotonic()
        session = self._session
        if session is None or not self._consuming or now < self._next_look:
            return
        self._next_look = now + LOOK
        self.holding.look(session)
        session.rows("sweep", {"grace": float(self.client.transport_options.get("grace", GRACE))})
        if now >= self._next_undeclared:
            self._next_undeclared = now + UNDECLARED
            session.count("sweep_undeclared")
        if now >= self._next_poll:
            self._next_poll = now + POLL
            for channel in self.channels:
                channel.dirty = True

    # blocking

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Hand over one message. Raises TimeoutError when none came within ``timeout`` seconds."""
        self._thread = threading.get_ident()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for channel in list(self.channels):
                if channel.deliver(1):
                    self.channels.remove(channel)
                    self.channels.append(channel)
                    return
            self._look()
            left = POLL if deadline is None else deadline - time.monotonic()
            pause = max(0.0, min(left, LOOK if self._consuming else POLL))
            if not self._sleep(pause) and deadline is not None and left <= pause:
                raise TimeoutError

    def _sleep(self, seconds: float) -> bool:
        """Wait until something wakes us; whether it did."""
        if any(
            channel.dirty and channel._consumers and channel.qos.can_consume() for channel in self.channels
        ):
            return True
        poller = select.poll()
        if self._session is not None:
            if not self._session.usable:
                raise BrokerConnectionError("the broker's session is lost")
            poller.register(self._session.fileno, select.POLLIN)
        if self._pipe is not None:
            poller.register(self._pipe[0], select.POLLIN)
        ready = poller.poll(seconds * 1000)
        for descriptor, _ in ready:
            if self._pipe is not None and descriptor == self._pipe[0]:
                self._drain_pipe()
            elif self._session is not None:
                self._session.read()
        return bool(ready)

    # Celery's event loop

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        session = self._consuming_session()
        assert self._pipe is not None
        self._loop = loop
        self._thread = threading.get_ident()
        loop.add_reader(session.fileno, session.read)
        loop.add_reader(self._pipe[0], self._drain_pipe)
        loop.on_tick.add(self._on_tick)
        self._timer = loop.call_repeatedly(LOOK, self._look)

    def _on_tick(self) -> None:
        if self._session is not None and not self._session.usable:
            raise BrokerConnectionError("the broker's session is lost")
        for channel in list(self.channels):
            while channel.deliver() == BATCH:
                pass

    def _leave_event_loop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is None:
            return
        loop.on_tick.discard(self._on_tick)
        if self._timer is not None:
            self._timer.cancel()
        descriptors = [self._session.fileno] if self._session is not None else []
        for descriptor in [*descriptors, *(self._pipe or ())[:1]]:
            if loop.readers.get(descriptor) is not None:
                loop.remove_reader(descriptor)

    # the end

    def close_channel(self, channel: Any) -> None:
        super().close_channel(channel)

    def close_connection(self, connection: Any) -> None:
        """End well: what is held is visible to others at once."""
        try:
            super().close_connection(connection)
        finally:
            self._end_session(held=None)

    def _collect(self, connection: Any) -> None:
        """kombu lets go of a failed connection: what is being worked on is kept for the next one."""
        self._abandon()

    def _abandon(self) -> None:
        held: dict[str, Any] = {}
        for channel in [*self.channels, *self._avail_channels]:
            held.update(channel.abandon())
        self.channels.clear()
        self._avail_channels.clear()
        self._end_session(held)

    def _end_session(self, held: dict[str, Any] | None) -> None:
        if self._process == os.getpid():
            self._leave_event_loop()
        session, self._session = self._session, None
        if session is not None and session.process == os.getpid():
            if self._consuming:
                self.holding.left(session, held)
            session.close()
        if self._pipe is not None:
            for descriptor in self._pipe:
                with suppress(OSError):
                    os.close(descriptor)
        self._pipe = None
        self._consuming = False
        self._heard.clear()
