"""Lets the writes of a finished task share the statement of the checkpoint that follows them.

LangGraph stores a task's writes when the task has finished and, where the task was the step's last, stores
the step's checkpoint right afterwards. Writes that wait a moment go along in that statement: one round trip
and one commit fewer a step. They wait at most ``HOLD`` seconds and are then stored by themselves, so that a
sibling that is still running does not keep a finished task's result from becoming durable (P3). Interrupts,
errors and resumes never wait. Nothing here touches the database, or knows whether threads or asyncio tasks
call it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final

from holdfast.persistence.saver.encoding import Batch, Key

HOLD: Final = 0.003  # seconds


class Held:
    """The batches that wait; shared by all copies of one saver. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Key, list[Batch]] = {}
        self._under_way: dict[Key, list[Batch]] = {}
        self._beside: dict[Key, list[Batch]] = {}

    def hold(self, key: Key, batch: Batch) -> None:
        """Keep the batch for the checkpoint after this one; ``batch.stored`` tells when it is durable.

        The caller sees to it that somebody stores what is ``leaving`` when the time is up.
        """
        with self._lock:
            self._waiting.setdefault(key, []).append(batch)

    @contextmanager
    def beside(self, key: Key, batch: Batch) -> Iterator[None]:
        """Around the storing of a batch that is not held: whoever stores the checkpoint after this one knows of it."""
        with self._lock:
            self._beside.setdefault(key, []).append(batch)
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:  # it is also that of whoever waits for the batch
            error = raised
            raise
        finally:
            with self._lock:
                self._beside[key].remove(batch)
                if not self._beside[key]:
                    del self._beside[key]
            finish([batch], error)

    def stored_beside(self, key: Key) -> list[Future[None]]:
        """Of the batches that are being stored so: done when each is durable, or has its error."""
        if not self._beside:
            return []
        with self._lock:
            return [batch.stored for batch in self._beside.get(key, ())]

    def is_waiting(self, key: Key, batch: Batch) -> bool:
        """Whether no checkpoint has come for it yet, and nobody stores it."""
        return batch in self._waiting.get(key, ())

    def take(self, key: Key) -> tuple[list[Batch], list[Batch]]:
        """What waits for the checkpoint after this one, and what is being stored already.

        The first are the caller's to store and to finish; the second must be stored before the checkpoint
        is, so that a step's writes are never behind it.
        """
        if not self._waiting and not self._under_way:
            return [], []
        with self._lock:
            return self._waiting.pop(key, []), list(self._under_way.get(key, ()))

    @contextmanager
    def leaving(self, key: Key) -> Iterator[Sequence[Batch]]:
        """What waits there, for the caller to store; what storing it raises is the error of those who wait for it.

        None while somebody stores what came before: he stores it next, so that no hole can arise. Therefore the
        caller asks again until there is none.
        """
        with self._lock:
            batches = [] if key in self._under_way else self._waiting.pop(key, [])
            if batches:
                self._under_way[key] = batches
        error: BaseException | None = None
        try:
            yield batches
        except BaseException as raised:  # noqa: BLE001 - not that of whoever happened to store them
            error = raised
        if batches:
            with self._lock:
                del self._under_way[key]
            finish(batches, error)


def finish(batches: Sequence[Batch], error: BaseException | None = None) -> None:
    """Say that the statement that took the batches has been committed, or why not."""
    for batch in batches:
        if error is None:
            batch.stored.set_result(None)
        else:
            batch.stored.set_exception(error)
