"""How large checkpoints are and how long their statements take: what one saver has stored and asked, and warnings.

A channel whose value is larger than ``LARGE_CHANNEL`` is named in a warning, and again each time it has doubled; a
statement that takes longer than ``SLOW_QUERY`` in each case. Sizes are those of the encoded values, before
PostgreSQL compresses them. Nothing here touches the database.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

from holdfast.conf import settings

logger = logging.getLogger("holdfast.checkpoints")

_REMEMBERED: Final = 4096
"""Large channels of a process whose warnings are remembered, so that they are not repeated at each step."""

_warned: OrderedDict[tuple[str, str, str], int] = OrderedDict()
_lock = threading.Lock()


class Usage:
    """That of one saver and its copies. Thread-safe."""

    def __init__(self) -> None:
        """Raises ConfigurationError."""
        self.checkpoints = 0
        self.bytes = 0
        self.largest: tuple[int, str] = (0, "")
        """Bytes and name of the largest channel."""
        self.statements = 0
        self.seconds = 0.0
        self.slowest: tuple[float, str] = (0.0, "")
        """Seconds and name of the slowest statement."""
        self._large, self._slow = settings().LARGE_CHANNEL, settings().SLOW_QUERY
        self._lock = threading.Lock()

    def stored(self, params: dict[str, Any], sizes: Iterable[tuple[str, int]]) -> None:
        """A checkpoint is about to be stored, with values of these channels and bytes."""
        sizes = list(sizes)
        with self._lock:
            self.checkpoints += 1
            self.bytes += len(params["checkpoint"]) + len(params["metadata"]) + sum(size for _, size in sizes)
            self.largest = max([self.largest, *((size, channel) for channel, size in sizes)])
        for channel, size in sizes:
            if size > self._large and _is_news((params["thread_id"], params["checkpoint_ns"], channel), size):
                logger.warning(
                    "thread %s: the channel %r takes %s bytes, more than HOLDFAST['LARGE_CHANNEL'] (%s). It is stored "
                    "whole whenever it changes: keep large data elsewhere and a reference in the state, drop what is "
                    "old, or use a DeltaChannel.",
                    params["thread_id"],
                    channel,
                    f"{size:,}",
                    f"{self._large:,}",
                )

    def asked(self, name: str, params: dict[str, Any], seconds: float) -> None:
        """A statement took so long, waiting for a connection included."""
        with self._lock:
            self.statements += 1
            self.seconds += seconds
            self.slowest = max(self.slowest, (seconds, name))
        if seconds > self._slow:
            logger.warning(
                "thread %s: the statement %s took %.2f s, more than HOLDFAST['SLOW_QUERY'] (%g s)",
                params.get("thread_id"),
                name,
                seconds,
                self._slow,
            )

    def __str__(self) -> str:
        size, channel = self.largest
        slowest, name = self.slowest
        told = f"{self.checkpoints} checkpoints of {self.bytes:,} bytes"
        told += f", the largest channel {channel!r} with {size:,}" if channel else ""
        told += f"; {self.statements} statements in {self.seconds:.3f} s"
        return told + (f", the slowest {name} in {slowest:.3f} s" if name else "")


def _is_news(channel: tuple[str, str, str], size: int) -> bool:
    """Whether the channel is twice as large as when it was last told of, or has never been."""
    with _lock:
        if size < 2 * _warned.get(channel, 0):
            return False
        _warned[channel] = size
        _warned.move_to_end(channel)
        while len(_warned) > _REMEMBERED:
            _warned.popitem(last=False)
    return True
