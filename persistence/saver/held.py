"""Lets the writes of a finished task share the statement of the checkpoint that follows them.

LangGraph stores a task's writes on a background thread and, where the task was the step's last,
stores the step's checkpoint right afterwards. A write that waits a moment goes along in that
statement: one round trip and one commit fewer a step. It waits at most ``HOLD`` seconds and is then
stored by itself, so that a sibling that is still running does not keep a finished task's result from
becoming durable (P3). Interrupts, errors and resumes never wait. Nothing here touches the database.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final

HOLD: Final = 0.003  # seconds

Key = tuple[str, str, str]  # thread, namespace, checkpoint


@dataclass(slots=True)
class Batch:
    """The encoded writes of one task: (index, channel, type, blob) each."""

    task_id: str
    task_path: str
    rows: list[tuple[int, str, str, bytes]]
    error: BaseException | None = None
    _done: threading.Event = field(default_factory=threading.Event)

    def finish(self, error: BaseException | None = None) -> None:
        """Say that the statement that took the batch has been committed, or why not."""
        self.error = error
        self._done.set()


class Held:
    """The batches that wait; shared by all copies of one saver. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Key, list[Batch]] = {}

    def offer(self, key: Key, batch: Batch) -> bool:
        """Wait for a checkpoint after this one to take the batch; True when it is stored.

        False when none came: the batch is the caller's again. Raises what the statement raised.
        """
        with self._lock:
            self._waiting.setdefault(key, []).append(batch)
        if not batch._done.wait(HOLD) and self._withdraw(key, batch):
            return False
        batch._done.wait()
        if batch.error is not None:
            raise batch.error
        return True

    def take(self, key: Key) -> list[Batch]:
        """The batches that wait for the checkpoint after this one; each must be finished."""
        if not self._waiting:
            return []
        with self._lock:
            return self._waiting.pop(key, [])

    def _withdraw(self, key: Key, batch: Batch) -> bool:
        with self._lock:
            batches = self._waiting.get(key, [])
            found = [other for other in batches if other is not batch]
            if len(found) == len(batches):
                return False  # taken meanwhile
            if found:
                self._waiting[key] = found
            else:
                del self._waiting[key]
            return True
