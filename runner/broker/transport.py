"""The transport: how a consumer sleeps and wakes, in Celery's event loop or in ``drain_events``.

A waiting consumer sleeps on the socket of its session (LISTEN) and on a pipe that acknowledgements
from other threads write to; it looks once after each LISTEN, and never sleeps for more than five
seconds. Once a second it sweeps what gone sessions left behind.
"""

from __future__ import annotations

import os
import random
import select
import threading
import time
from contextlib import suppress
from typing import Any

import psycopg
from kombu import exceptions
from kombu.asynchronous import get_event_loop
from kombu.transport import virtual

from holdfast.runner.broker.address import resolve
from holdfast.runner.broker.channel import BATCH, Channel
from holdfast.runner.broker.errors import BrokerConnectionError, BrokerSchemaError
from holdfast.runner.broker.holding import Held
from holdfast.runner.broker.link import Link
from holdfast.runner.broker.routing import Binding
from holdfast.runner.broker.session import CONNECT_TIMEOUT

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
    connection_errors = (BrokerConnectionError, exceptions.ConnectionError)
    channel_errors = (exceptions.ChannelError, BrokerSchemaError)
    recoverable_connection_errors = connection_errors
    recoverable_channel_errors = ()
    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset(["direct", "topic", "fanout"]), heartbeats=False
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        options = client.transport_options
        self.link = Link(
            resolve(client),
            on_notify=self._on_notify,
            timeout=float(options.get("connect_timeout", CONNECT_TIMEOUT)),
        )
        self._grace = float(options.get("grace", GRACE))
        self.bound: dict[str, dict[tuple[str, str], Binding]] = {}
        self.transient: set[str] = set()
        self._begin()

    def _begin(self) -> None:
        self._loop: Any = None
        self._timer: Any = None
        self._thread = threading.get_ident()
        self._heard: dict[str, str] = {}
        self._pipe: tuple[int, int] | None = None
        self._next_look = self._next_poll = 0.0
        self._next_undeclared = time.monotonic() + UNDECLARED * random.random()  # noqa: S311 - to spread

    def driver_version(self) -> str:
        return psycopg.__version__

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        return self.link.address.shown(include_password, mask)

    def establish_connection(self) -> Any:
        """Make sure that there is a way to the broker. Raises BrokerConnectionError.

        An alias is published to through Django's own connection, which is opened at the first
        statement; a process with an event loop is going to consume and opens its session here.
        """
        if self.link.lost:
            self._abandon()
        going_to_consume = get_event_loop() is not None and os.getpid() == _home
        if (self.link.address.alias is None or going_to_consume) and self.link.holding.live() is None:
            self.link.open()
        return super().establish_connection()

    def verify_connection(self, connection: Any) -> bool:
        return not self.link.lost

    # consuming

    def begin_consuming(self, queue: str) -> None:
        """Listen to the queue's channel; the consumer looks once after that."""
        session = self.link.consuming()
        self._make_pipe()
        ((channel,),) = session.rows("channel", {"queue": queue})
        self._heard[channel] = queue
        session.listen(channel)
        session.count("consume_queue", {"queue": queue, **session.names})

    def end_consuming(self, queue: str) -> None:
        """A consumer of the queue has gone; if it was the last of this connection, listen no longer."""
        session = self.link.session
        if session is None or any(each.consumes(queue) for each in self.channels):
            return
        with suppress(BrokerConnectionError):  # the session's end does all of that
            for channel in [name for name, heard in self._heard.items() if heard == queue]:
                session.unlisten(channel)
                del self._heard[channel]
            session.count("leave_queue", {"queue": queue, **session.names})

    def _on_notify(self, name: str) -> None:
        queue = self._heard.get(name)
        for channel in list(self.channels):
            if queue is not None and channel.consumes(queue):
                channel.dirty = True
        self.wake()

    def wake(self) -> None:
        """End the consumer's sleep, if another thread calls: a message came, or a place got free."""
        if self._pipe is not None and threading.get_ident() != self._thread:
            self._poke()

    def _poke(self) -> None:
        if self._pipe is not None:
            with suppress(OSError):  # full: it is awake already
                os.write(self._pipe[1], b"\0")

    def look_soon(self) -> None:
        """Other consumers were quicker at what there was: see again at the next look."""
        self._next_poll = 0.0

    def _make_pipe(self) -> int:
        if self._pipe is None:
            self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        return self._pipe[0]

    def _drain_pipe(self) -> None:
        if self._pipe is not None:
            with suppress(BlockingIOError):
                os.read(self._pipe[0], 4096)

    def _look(self) -> None:
        """Sweep, about once a second, and look for messages that nobody told of, every five."""
        now = time.monotonic()
        session = self.link.session
        if session is None or not self.link.consumes or now < self._next_look:
            return
        self._next_look = now + LOOK * 0.9
        self.link.holding.look(session)
        session.rows("sweep", {"grace": self._grace})
        if now >= self._next_undeclared:
            self._next_undeclared = now + UNDECLARED
            session.count("sweep_undeclared")
        if now >= self._next_poll:
            self._next_poll = now + POLL - LOOK
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
            if any(channel.wants() for channel in self.channels):
                continue
            left = LOOK if deadline is None else deadline - time.monotonic()
            if not self._sleep(max(0.0, min(left, LOOK))) and deadline is not None and left <= LOOK:
                raise TimeoutError

    def _sleep(self, seconds: float) -> bool:
        """Wait until something wakes us; whether it did. Raises BrokerConnectionError."""
        if self.link.lost:
            raise BrokerConnectionError("the broker's session is lost")
        poller = select.poll()
        session = self.link.session
        if session is not None:
            poller.register(session.fileno, select.POLLIN)
        if self._pipe is not None:
            poller.register(self._pipe[0], select.POLLIN)
        ready = poller.poll(seconds * 1000)
        for descriptor, _ in ready:
            if session is not None and descriptor == session.fileno:
                session.read()
            else:
                self._drain_pipe()
        return bool(ready)

    # Celery's event loop

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        session = self.link.consuming()
        self._loop = loop
        self._thread = threading.get_ident()
        loop.add_reader(session.fileno, self._on_readable)
        loop.add_reader(self._make_pipe(), self._drain_pipe)
        loop.on_tick.add(self._on_tick)
        self._timer = loop.call_repeatedly(LOOK, self._look)

    def _on_readable(self) -> None:
        if self.link.session is not None:
            self.link.session.read()
            self._deliver_all()

    def _on_tick(self) -> None:
        """Before the loop sleeps: places may have got free, or a statement may have read a notice.

        Celery's pool may have had its turn in this tick already, and would pass on what is
        delivered now only after the sleep; so there is none.
        """
        if self.link.lost:
            raise BrokerConnectionError("the broker's session is lost")
        if self._deliver_all():
            self._poke()

    def _deliver_all(self) -> int:
        delivered = 0
        for channel in list(self.channels):
            while now := channel.deliver():
                delivered += now
                if now < BATCH:
                    break
        return delivered

    def _leave_event_loop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is None or self.link.inherited:
            return
        loop.on_tick.discard(self._on_tick)
        self._timer.cancel()
        descriptors = [self.link.session.fileno] if self.link.session is not None else []
        for descriptor in [*descriptors, *(self._pipe or ())[:1]]:
            if descriptor in loop.readers:
                loop.remove_reader(descriptor)

    # the end

    def close_connection(self, connection: Any) -> None:
        """End well: what is held is visible to others at once."""
        try:
            super().close_connection(connection)
        finally:
            self._end(held=None)

    def _collect(self, connection: Any) -> None:
        """kombu lets go of a failed connection: what is being worked on is kept for the next one."""
        self._abandon()

    def _abandon(self) -> None:
        held: dict[str, Any] = {}
        for channel in {*self.channels, *self._avail_channels}:
            held.update(channel.abandon())
        self.channels.clear()
        self._avail_channels.clear()
        self._end(held)

    def _end(self, held: Held | None) -> None:
        self._leave_event_loop()
        self.link.close(held)
        for descriptor in self._pipe or ():
            with suppress(OSError):
                os.close(descriptor)
        self._begin()
