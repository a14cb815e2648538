"""One kombu connection's way to the broker: on which database connection each statement runs.

A consumer has one session of its own, and everything else that its process says to the same broker
goes over it too. Without one, an alias is reached through Django's connection of the calling
thread, and a URL over a session that is opened when first needed. Never retries anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from holdfast.faults import point
from holdfast.runner.broker import django_publisher
from holdfast.runner.broker.address import Address
from holdfast.runner.broker.errors import BrokerConnectionError
from holdfast.runner.broker.holding import Held, Holding, holding
from holdfast.runner.broker.outgoing import Outgoing, as_parameters, collected
from holdfast.runner.broker.session import Session

ATTEMPTS = 5
"""How often a take is repeated at once when another consumer was quicker."""

Taken = tuple[str, str, str, bool]
"""Id, queue, payload, and whether it was handed out before."""


class Link:
    """Belongs to one transport; forgets everything in a forked child."""

    def __init__(self, address: Address, *, on_notify: Callable[[str], None], timeout: float) -> None:
        self.address = address
        self._on_notify = on_notify
        self._timeout = timeout
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self.holding: Holding = holding(self.address)
        self.session: Session | None = None
        self.consumes = False
        self._deferred: list[tuple[str, dict[str, Any]]] = []

    @property
    def inherited(self) -> bool:
        """Whether it was made by a parent process."""
        return self._process != os.getpid()

    @property
    def lost(self) -> bool:
        """Whether it had a session and has it no longer."""
        return self.inherited or (self.session is not None and not self.session.usable)

    def refresh(self) -> None:
        """In a forked child, begin anew."""
        if self.inherited:
            self._start()

    def open(self) -> Session:
        """The session of its own, opened if need be. Raises BrokerConnectionError, BrokerSchemaError."""
        self.refresh()
        if self.session is None:
            self.session = Session(self.address, on_notify=self._on_notify, timeout=self._timeout)
        return self.session

    def consuming(self) -> Session:
        """The same, as one that takes messages; what this process still works on is its again."""
        session = self.open()
        if not self.consumes:
            if session.shared_by_a_pooler():
                raise BrokerConnectionError(
                    "A consumer needs a session of its own, and this address leads to a pooler: "
                    "LISTEN does not work through it. Point the broker at the server itself."
                )
            self.holding.joined(session)
            self.consumes = True
        return session

    def close(self, held: Held | None) -> None:
        """End the session: ``held`` is what it held if it failed, None if it gave everything back."""
        session, self.session = self.session, None
        if session is not None and not self.inherited:
            if self.consumes:
                self.holding.left(session, held)
            session.close()
        self.consumes = False

    def _way(self, *, transactional: bool = False) -> Session | None:
        self.refresh()
        if transactional and self._in_transaction():
            return None
        if self.session is not None and self.session.usable:
            return self.session
        if (session := self.holding.live()) is not None:
            return session
        if self.address.alias is not None:
            return None
        if self.session is not None:
            raise BrokerConnectionError("the broker's session is lost")
        return self.open()

    def _in_transaction(self) -> bool:
        return self.address.alias is not None and django_publisher.in_transaction(self.address)

    def rows(self, name: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement that answers."""
        if (session := self._way()) is not None:
            return session.rows(name, parameters)
        return django_publisher.rows(self.address, name, parameters)

    def count(self, name: str, parameters: dict[str, Any] | None = None) -> int:
        """Run a statement that changes rows; their number."""
        if (session := self._way()) is not None:
            return session.count(name, parameters)
        return django_publisher.count(self.address, name, parameters)

    def publish(self, messages: list[Outgoing]) -> None:
        """Put messages in their queues, within the caller's transaction if it is one of the alias."""
        if self._deferred:
            self._declare_deferred()
        if self.address.alias is not None and collected(self.address.alias, messages):
            return
        if (session := self._way(transactional=True)) is not None:
            session.rows("publish", as_parameters(messages))
        else:
            django_publisher.publish(self.address, messages)

    def declare(self, name: str, parameters: dict[str, Any]) -> None:
        """Write a queue or a binding, never inside the caller's transaction.

        There it would hold up everybody else who declares the same, and be lost with a rollback
        though kombu remembers it as done; so it waits for the commit, or for the next chance.
        """
        self._deferred.append((name, parameters))
        self._declare_deferred()

    def _declare_deferred(self, *, committed: bool = False) -> None:
        if self._in_transaction():
            # ``captureOnCommitCallbacks`` of Django's tests calls back inside the transaction: asking to be
            # called again there would never end.
            if not committed:
                django_publisher.on_commit(self.address, lambda: self._declare_deferred(committed=True))
            return
        while self._deferred:
            self.count(*self._deferred[0])
            del self._deferred[0]

    def take(self, name: str, queues: list[str], limit: int) -> tuple[list[Taken], bool]:
        """What was taken, and whether there was more that others were quicker at each time."""
        session = self.consuming()
        more = False
        for _ in range(ATTEMPTS):
            rows = session.rows(name, {"queues": queues, "limit": limit, **session.names})
            if taken := [(str(row[0]), row[1], row[2], row[3]) for row in rows if row[0] is not None]:
                point("broker-after-take")
                return taken, False
            if not (more := rows[0][4] > 0):
                break
        return [], more
