"""A consumer's rounds: it sweeps once a second, and looks every five for what nobody told it of.

The sweep is one statement under a lock that nobody waits for, so that of all consumers one sweeps.
"""

from __future__ import annotations

import random
import time

from holdfast.runner.broker.holding import Holding
from holdfast.runner.broker.session import Session

LOOK = 1.0
"""Seconds between two rounds."""
POLL = 5.0
"""Seconds after which a consumer looks for messages though nothing woke it."""
GRACE = 15.0
"""Seconds after a restart of the server during which holders may come back for their messages;
the transport option ``grace`` changes it."""
UNDECLARED = 600.0
"""Seconds between two sweeps of messages whose queue nobody declared."""


class Rounds:
    """When what is due, by this process's monotonic clock."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._next = self._next_poll = 0.0
        self._next_undeclared = time.monotonic() + UNDECLARED * random.random()  # noqa: S311 - to spread

    def look_soon(self) -> None:
        """Let the next round look for messages."""
        self._next_poll = 0.0

    def go(self, session: Session, holding: Holding) -> bool:
        """A round, if it is time; whether the consumer is to look. Raises BrokerConnectionError."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + LOOK * 0.9  # so that a timer of LOOK seconds skips no round
        holding.look(session)
        session.rows("sweep", {"grace": self._grace})
        if now >= self._next_undeclared:
            self._next_undeclared = now + UNDECLARED
            session.count("sweep_undeclared")
        if now < self._next_poll:
            return False
        self._next_poll = now + POLL - LOOK
        return True
