"""One thread a process that waits for all values which other workers compute, and renews what is led here (P5).

For each it asks the database after a few milliseconds at first, then after pauses that grow with the time waited: so
a value is taken a tenth later than it could be. One statement asks for all that are due, and takes along those that
are due soon: so eight a second at most, however many have waited for some seconds. LISTEN would be quicker, and cost
each process a connection. The thread computes nothing and decides nothing: who waits is told, and looks for itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, Literal
from uuid import UUID

from holdfast.conf import settings
from holdfast.errors import DatabaseUnreachableError
from holdfast.per_process import PerProcess
from holdfast.persistence.node_cache import flights
from holdfast.persistence.node_cache.asking import ask
from holdfast.persistence.node_cache.flights import Flight

logger = logging.getLogger("holdfast.flights")

FIRST_PAUSE: Final = 0.004
"""Seconds until the first look."""
LONGEST_PAUSE: Final = 0.25
"""Seconds between two looks for one value."""
GROWTH: Final = 0.1
"""The next pause, as a share of the time waited."""
HEED: Final = 0.1
"""Seconds after which somebody who waits notices that he is not to go on."""

News = Literal["over", "stopped", "circle"]
"""The value may be there or free to be computed; the run is to stop; whoever computes it waits for us."""


@dataclass(eq=False, kw_only=True, slots=True)
class Waiter:
    """One task that waits."""

    flight: Flight
    stopped: Callable[[], bool]
    news: Future[News] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)
    pause: float = FIRST_PAUSE
    """Seconds between its last look and the next, which is at ``due``."""
    due: float = 0.0

    def is_soon(self, now: float) -> bool:
        """Whether half of its pause is over, so that it goes along with others that are due."""
        return self.due - self.pause / 2 <= now

    def tell(self, news: News) -> None:
        """Wake it, unless it has gone."""
        if self.news.set_running_or_notify_cancel():
            self.news.set_result(news)

    def fail(self, error: Exception) -> None:
        """Wake it with an error."""
        if self.news.set_running_or_notify_cancel():
            self.news.set_exception(error)


class Waiters:
    """The thread, which begins with the first who needs it."""

    def __init__(self) -> None:
        self._waiting: list[Waiter] = []
        self._leading: dict[UUID, tuple[str, float]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def wait(self, flight: Flight, stopped: Callable[[], bool]) -> Future[News]:
        """Wait for that flight's end; the future may be cancelled. ``stopped`` is asked ten times a second."""
        waiter = Waiter(flight=flight, stopped=stopped)
        waiter.due = waiter.since + waiter.pause
        with self._changed:
            self._waiting.append(waiter)
            self._awake()
        return waiter.news

    @contextmanager
    def renewing(self, flight: Flight) -> Iterator[None]:
        """As long as this lasts the flight's lease is renewed, for a process whose runs have no heartbeat."""
        with self._changed:
            self._leading[flight.holder] = (flight.cache.alias, time.monotonic())
            self._awake()
        try:
            yield
        finally:
            with self._changed:
                self._leading.pop(flight.holder, None)

    def ended(self, flight: Flight) -> None:
        """A flight of this process has ended: who waits for it here need not wait for the next look."""
        with self._changed:
            for waiter in self._waiting:
                if waiter.flight.slot == flight.slot:
                    waiter.due = 0.0
            self._changed.notify_all()

    def _awake(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="holdfast-waiters", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._leading)
                self._waiting = [waiter for waiter in self._waiting if not waiter.news.done()]
                waiting = list(self._waiting)
            now = time.monotonic()
            for waiter in waiting:
                if waiter.stopped():
                    waiter.tell("stopped")
            soon = sorted(
                (waiter for waiter in waiting if waiter.is_soon(now) and not waiter.news.done()),
                key=lambda waiter: waiter.flight.cache.alias,
            )
            for alias, group in groupby(soon, lambda waiter: waiter.flight.cache.alias):
                together = list(group)
                if any(waiter.due <= now for waiter in together):
                    self._guarded(alias, together)
            self._renew()
            self._sleep()

    def _sleep(self) -> None:
        with self._changed:
            waiting = [waiter for waiter in self._waiting if not waiter.news.done()]
            until = min((waiter.due for waiter in waiting), default=float("inf")) - time.monotonic()
            self._changed.wait(max(min(until, HEED if waiting else settings().LEASE / 8), 0))

    def _guarded(self, alias: str, together: Sequence[Waiter]) -> None:
        try:
            self._look(alias, together)
        except DatabaseUnreachableError as error:
            logger.debug("nothing is known of what others compute: %s", error)  # the heartbeat tells people
        except Exception as error:  # noqa: BLE001 - whoever waits raises it; without the thread all would wait for ever
            for waiter in together:
                waiter.fail(error)
        now = time.monotonic()
        for waiter in together:
            waiter.pause = min(max((now - waiter.since) * GROWTH, FIRST_PAUSE), LONGEST_PAUSE)
            waiter.due = now + waiter.pause

    def _look(self, alias: str, together: Sequence[Waiter]) -> None:
        look = flights.look([waiter.flight for waiter in together])
        over = {slot for (slot,) in ask(alias, look.name, look.params, seconds=0)}
        for waiter in together:
            if waiter.flight.slot in over:
                waiter.tell("over")
            elif waiter.flight.inside:
                circle = waiter.flight.circle()
                if ask(alias, circle.name, circle.params, seconds=0)[0][0]:
                    waiter.tell("circle")

    def _renew(self) -> None:
        now = time.monotonic()
        with self._changed:
            late = {
                holder: alias
                for holder, (alias, renewed) in self._leading.items()
                if now - renewed > settings().LEASE / 4
            }
            self._leading |= {holder: (alias, now) for holder, alias in late.items()}
        for alias in set(late.values()):
            renewal = flights.renew([holder for holder, where in late.items() if where == alias])
            try:
                ask(alias, renewal.name, renewal.params, seconds=0)
            except Exception as error:  # noqa: BLE001 - the next one may succeed, and others take over otherwise
                logger.warning("flights could not be renewed: %s", error)


waiters: Final = PerProcess(Waiters)
"""This process's; a forked child gets one of its own."""
