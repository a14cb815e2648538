"""Keeps a thread's checkpoints in order although the clocks of the hosts that write them disagree.

The newest checkpoint is the one with the greatest id, and LangGraph makes an id of its process's own clock. After a
hand-over to a host that is a second behind, what that one writes would sort before what it went on from: the next
attempt would not find it, and execute it again (P3; seen). So a process that has read a checkpoint makes no
older ones from then on, as a logical clock does (Lamport 1978). This is the one place that reaches into LangGraph's
ids; while no id comes from the future it changes nothing.
"""

from __future__ import annotations

import threading
import time
from typing import Final
from uuid import UUID

from langgraph.checkpoint.base import id as _ids

_EPOCH: Final = 0x01B21DD213814000
"""From 1582, where the time in a UUID begins, to 1970; in its units of 100 ns."""
_FURTHEST: Final = 366 * 86400 * 10**9
"""Nanoseconds: an id further ahead tells of a mistake, and no clock is set by it."""


class _Clock:
    """Stands where LangGraph's ids look for the module ``time``. Never slower than the ids that were read."""

    def __init__(self) -> None:
        self._ahead = 0  # nanoseconds before the process's own clock
        self._lock = threading.Lock()

    def time_ns(self) -> int:
        """Nanoseconds since 1970."""
        return time.time_ns() + self._ahead

    def follow(self, nanoseconds: int) -> None:
        """From now on it is later than that."""
        with self._lock:
            ahead = nanoseconds - time.time_ns()
            if self._ahead < ahead < _FURTHEST:
                self._ahead = ahead


_clock: Final = _Clock()
vars(_ids)["time"] = _clock


def follow(checkpoint_id: str) -> None:
    """Let the ids that this process makes sort after that one. An id that tells no time changes nothing."""
    try:
        uuid = UUID(checkpoint_id)
    except ValueError:
        return
    if uuid.version == 6:
        ticks = (uuid.int >> 80) << 12 | (uuid.int >> 64) & 0xFFF
        _clock.follow((ticks + 1 - _EPOCH) * 100)
