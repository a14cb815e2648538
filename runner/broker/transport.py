"""The transport: how a consumer sleeps and wakes, in Celery's event loop or in ``drain_events``.

A waiting consumer sleeps on the socket of its session (LISTEN) and on a pipe that acknowledgements
from other threads write to; it looks once after each LISTEN, and never sleeps for more than a second,
between two of its rounds.
"""

from __future__ import annotations

import os
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
from holdfast.runner.broker.rounds import GRACE, LOOK, Rounds
from holdfast.runner.broker.routing import Binding
from holdfast.runner.broker.session import CONNECT_TIMEOUT
from holdfast.runner.broker.wakeup import Wakeup

_home = os.getpid()  # where Celery's event loop is at home: a child that inherits it consumes nothing


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
        asynchronous=True,
        batch_publish=True,
        exchange_type=frozenset(["direct", "topic", "fanout"]),
        heartbeats=False,
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
        self._wakeup = Wakeup()
        self._heard: dict[str, str] = {}
        self._rounds = Rounds(self._grace)

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
        self._wakeup.open()
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
        """A message came, or a place got free: end the consumer's sleep, if another thread calls."""
        self._wakeup.wake()

    def look_soon(self) -> None:
        """Other consumers were quicker at what there was: see again at the next round."""
        self._rounds.look_soon()

    def _look(self) -> None:
        session = self.link.session
        if session is not None and self.link.consumes and self._rounds.go(session, self.link.holding):
            for channel in self.channels:
                channel.dirty = True

    # blocking

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Hand over one message. Raises TimeoutError when none came within ``timeout`` seconds."""
        self._wakeup.sleeps_here()
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
        session = self.link.session
        ready = self._wakeup.sleep(seconds, [] if session is None else [session.fileno])
        for descriptor in ready:
            if session is not None and descriptor == session.fileno:
                session.read()
            else:
                self._wakeup.drain()
        return bool(ready)

    # Celery's event loop

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        session = self.link.consuming()
        self._loop = loop
        self._wakeup.sleeps_here()
        loop.add_reader(session.fileno, self._on_readable)
        loop.add_reader(self._wakeup.open(), self._wakeup.drain)
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
            self._wakeup.poke()

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
        for descriptor in [*descriptors, *self._wakeup.descriptors]:
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
        self._wakeup.close()
        self._begin()
