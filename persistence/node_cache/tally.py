"""Hits of the node cache, counted in memory and written now and then, so that reading it stays reading.

One a process. Whoever comes by writes what has gathered, at most every few seconds: a worker's heartbeat, the end
of an attempt in a process without one, a reader outside of runs, the process's end. A process that is killed loses
the hits of the last seconds. What saves nobody anything must not cost anybody anything: writing waits for no lock,
is not repeated, and fails silently.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import psycopg
from django.db import DatabaseError, InterfaceError, connections

from holdfast.errors import HoldfastError
from holdfast.per_process import PerProcess
from holdfast.persistence.node_cache.asking import ask
from holdfast.persistence.node_cache.keys import slot
from holdfast.persistence.sql import query

logger = logging.getLogger("holdfast.node_cache")

PAUSE: Final = 2.0
"""Seconds between two writings of one process."""
TROUBLE: Final = (HoldfastError, DatabaseError, InterfaceError, psycopg.Error)
"""What writing can raise, on any sort of connection."""


class Tally:
    """Hits by alias and slot that have not been written yet. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hits: dict[str, list[Sequence[bytes]]] = {}
        self._left: dict[str, Counter[int]] = {}
        self._taken = -PAUSE

    def add(self, alias: str, digests: Sequence[bytes]) -> None:
        """Count one hit of each."""
        with self._lock:
            self._hits.setdefault(alias, []).append(digests)

    def take(self, alias: str, *, pause: float = PAUSE) -> Counter[int] | None:
        """What waits to be written there, now the caller's; None within ``pause`` seconds of the last time (0: at once)."""
        with self._lock:
            if not self._waits(alias) or (pause and time.monotonic() - self._taken < pause):
                return None
            self._taken = time.monotonic()
            hits, taken = self._hits.pop(alias, ()), self._left.pop(alias, Counter[int]())
        # Digests are counted, not slots: of many hits only those of different entries become numbers.
        for digest, count in Counter(chain.from_iterable(hits)).items():
            taken[slot(digest)] += count
        return taken

    def put_back(self, alias: str, hits: Counter[int], slots: Iterable[int] | None = None) -> None:
        """Those slots could not be written, or (None) nothing could."""
        left = hits if slots is None else Counter({slot: hits[slot] for slot in slots})
        if left:
            with self._lock:
                self._left.setdefault(alias, Counter()).update(left)

    def write(self, alias: str, *, pause: float = PAUSE, django: bool = False) -> None:
        """Write what waits; ``django``: on this thread's Django connection instead of the pool's."""
        if (hits := self.take(alias, pause=pause)) is None:
            return
        try:
            left = (_on_django if django else _on_pool)(alias, params(hits))
        except TROUBLE as error:
            logger.debug("hits are counted later: %s", error)
            self.put_back(alias, hits)
        else:
            self.put_back(alias, hits, left)

    def aliases(self) -> list[str]:
        """Where something waits to be written."""
        with self._lock:
            return list({*self._hits, *self._left})

    def _waits(self, alias: str) -> bool:
        return alias in self._hits or alias in self._left


def params(hits: Counter[int]) -> Mapping[str, Any]:
    """The parameters of ``cache_count``."""
    return {"slots": list(hits), "hits": list(hits.values())}


def _on_pool(alias: str, parameters: Mapping[str, Any]) -> list[int]:
    return [row[0] for row in ask(alias, "cache_count", parameters, seconds=0)]


def _on_django(alias: str, parameters: Mapping[str, Any]) -> list[int]:
    with connections[alias].cursor() as cursor:
        cursor.execute(query("cache_count"), parameters)
        return [row[0] for row in cursor.fetchall()]


def _at_exit() -> None:
    for alias in tally().aliases():
        tally().write(alias, pause=0)


def _begin() -> Tally:
    atexit.register(_at_exit)
    return Tally()


tally: Final = PerProcess(_begin)
"""This process's; a forked child gets one of its own."""
