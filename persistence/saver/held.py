"""Lets the writes of a finished task share the statement of the checkpoint that follows them.

LangGraph stores a task's writes when the task has finished and, where the task was the step's last, stores
the step's checkpoint right afterwards. Writes that wait a moment go along in that statement: one round trip
and one commit fewer a step. They wait at most ``HOLD`` seconds and are then stored by themselves, so that a
sibling that is still running does not keep a finished task's result from becoming durable (P3). Interrupts,
errors and resumes never wait. The database is touched only by the function that ``Held`` was given.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from holdfast.persistence.saver.encoding import Batch, Key
from holdfast.persistence.saver.flusher import flush_later

HOLD: Final = 0.003  # seconds


class Held:
    """The batches that wait; shared by all copies of one saver. Thread-safe."""

    def __init__(self, store: Callable[[Key, Sequence[Batch]], None]) -> None:
        """``store`` writes batches of one checkpoint that no later one has come for."""
        self._store = store
        self._lock = threading.Lock()
        self._waiting: dict[Key, list[Batch]] = {}
        self._under_way: dict[Key, list[Batch]] = {}

    def hold(self, key: Key, batch: Batch) -> None:
        """Keep the batch for the checkpoint after this one; ``batch.stored`` tells when it is durable."""
        with self._lock:
            self._waiting.setdefault(key, []).append(batch)
        flush_later(HOLD, lambda: self._is_waiting(key, batch), lambda: self._flush(key))

    def take(self, key: Key) -> tuple[list[Batch], list[Batch]]:
        """What waits for the checkpoint after this one, and what is being stored already.

        The first are the caller's to store and to finish; the second must be stored before the checkpoint
        is, so that a step's writes are never behind it.
        """
        if not self._waiting and not self._under_way:
            return [], []
        with self._lock:
            return self._waiting.pop(key, []), list(self._under_way.get(key, ()))

    def _is_waiting(self, key: Key, batch: Batch) -> bool:
        return batch in self._waiting.get(key, ())

    def _flush(self, key: Key) -> None:
        while batches := self._next(key):
            error: BaseException | None = None
            try:
                self._store(key, batches)
            except BaseException as raised:  # noqa: BLE001 - it is the error of those who wait for the batches
                error = raised
            with self._lock:
                del self._under_way[key]
            finish(batches, error)

    def _next(self, key: Key) -> list[Batch] | None:
        """What waits, unless somebody stores what came before: he stores it next, so that no hole can arise."""
        with self._lock:
            if key in self._under_way or (batches := self._waiting.pop(key, None)) is None:
                return None
            self._under_way[key] = batches
            return batches


def finish(batches: Sequence[Batch], error: BaseException | None = None) -> None:
    """Say that the statement that took the batches has been committed, or why not."""
    for batch in batches:
        if error is None:
            batch.stored.set_result(None)
        else:
            batch.stored.set_exception(error)
