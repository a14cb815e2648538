"""What this process has taken from a broker and not answered yet, beyond the life of one session.

A session can be lost while tasks are at work on messages that it held. The messages whose objects
are still referred to can still be acknowledged, so the process's next session makes them its own
again before it takes anything; the others are given back. Answers that could not be delivered are
kept and delivered first. Nothing here outlives the process, and nothing is shared with a fork.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from holdfast.faults import point
from holdfast.per_process import PerProcess
from holdfast.runner.broker.address import Address
from holdfast.runner.broker.errors import BrokerConnectionError
from holdfast.runner.broker.session import Session

Held = Mapping[str, weakref.ref[Any]]
"""Ids of unanswered messages, and the messages for as long as somebody refers to them."""


class Holding:
    """One for each broker and process; every method may be called by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: list[weakref.ref[Session]] = []
        self._old: list[tuple[int, datetime]] = []
        self._orphans: dict[str, weakref.ref[Any]] = {}
        self._forgotten: deque[str] = deque()
        self._done: set[str] = set()
        self._freed: set[str] = set()

    def live(self) -> Session | None:
        """A consuming session of this process that statements may run on, if there is one."""
        with self._lock:
            return next((session for session in self._consuming() if session.usable), None)

    def _consuming(self) -> list[Session]:
        """Referred to weakly, so that a connection which nobody closed ends all the same."""
        return [session for reference in self._sessions if (session := reference()) is not None]

    def joined(self, session: Session) -> None:
        """A session begins to consume: settle what the lost ones left, before it takes anything."""
        with self._lock:
            kept = [tag for tag in self._orphans if tag not in self._done and tag not in self._freed]
            old = list(self._old)
        session.count("mark")
        self._settle(session)
        if kept or old:
            session.rows(
                "reassert",
                {
                    "kept": kept,
                    "old_pids": [pid for pid, _ in old],
                    "old_starts": [start for _, start in old],
                    **session.names,
                },
            )
        with self._lock:
            self._old = [each for each in self._old if each not in old]
            self._sessions.append(weakref.ref(session))

    def left(self, session: Session, held: Held | None) -> None:
        """A session is over; ``held`` are the unanswered messages if it was lost, None if it ended well."""
        with self._lock:
            self._sessions = [weakref.ref(each) for each in self._consuming() if each is not session]
            if held is None:
                return
            self._old.append((session.pid, session.start))
            for tag, reference in held.items():
                if (message := reference()) is not None:
                    self._orphans[tag] = weakref.ref(message, self._forgetter(tag))

    def _forgetter(self, tag: str) -> Callable[[weakref.ref[Any]], None]:
        """Called by the garbage collector, anywhere: it only takes a note."""
        return lambda _: self._forgotten.append(tag)

    def acknowledge(self, tags: Iterable[str]) -> None:
        """The work is done: delete the messages, now or as soon as there is a session again."""
        with self._lock:
            for tag in tags:
                self._done.add(tag)
                self._orphans.pop(tag, None)
        if session := self.live():
            self._try_to_settle(session)

    def release(self, tags: Iterable[str]) -> None:
        """Somebody else shall do it: make the messages visible, now or when there is a session again."""
        with self._lock:
            for tag in tags:
                self._freed.add(tag)
                self._orphans.pop(tag, None)
        if session := self.live():
            self._try_to_settle(session)

    def look(self, session: Session) -> None:
        """Give back what nobody can acknowledge any more. Raises BrokerConnectionError."""
        while self._forgotten:
            tag = self._forgotten.popleft()
            with self._lock:
                if self._orphans.pop(tag, None) is not None:
                    self._freed.add(tag)
        self._settle(session)

    def _try_to_settle(self, session: Session) -> None:
        with suppress(BrokerConnectionError):  # kept for the next session; the consumer notices by itself
            self._settle(session)

    def _settle(self, session: Session) -> None:
        with self._lock:
            done, freed = list(self._done), list(self._freed)
            holders = [session, *self._consuming()]
        if done:
            point("broker-before-acknowledge")
            session.count("acknowledge", {"ids": done})
            point("broker-after-acknowledge")
            with self._lock:
                self._done.difference_update(done)
        if freed:
            session.rows(
                "release",
                {
                    "ids": freed,
                    "pids": [each.pid for each in holders],
                    "starts": [each.start for each in holders],
                },
            )
            with self._lock:
                self._freed.difference_update(freed)


class _Holdings:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_address: dict[Address, Holding] = {}

    def of(self, address: Address) -> Holding:
        with self._lock:
            return self._by_address.setdefault(address, Holding())


_holdings: Final = PerProcess(_Holdings)


def holding(address: Address) -> Holding:
    """The process's own for that broker."""
    return _holdings().of(address)
