"""A semaphore for threads and asyncio tasks together, first come, first served."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future


class Semaphore:
    """How many may do something at once. A thread waits, a task awaits; neither holds up the other's scheduler."""

    def __init__(self, permits: int) -> None:
        self._free = permits
        self._line: deque[Future[None]] = deque()
        self._lock = threading.Lock()

    def acquire(self, *, first: bool = False) -> None:
        """Wait in this thread for a permit, and take it; ``first``: before those who wait already."""
        if (turn := self.turn(first=first)) is not None:
            turn.result()

    async def aacquire(self, *, first: bool = False) -> None:
        """As ``acquire``, for a task. One that is cancelled takes none."""
        if (turn := self.turn(first=first)) is None:
            return
        try:
            await asyncio.wrap_future(turn)
        except asyncio.CancelledError:
            if not turn.cancelled():  # it has the permit, or is being given it at this moment
                self.release()
            raise

    def acquire_anyway(self) -> None:
        """Take a permit although none may be free; then nobody gets one until there is one again."""
        with self._lock:
            self._free -= 1

    def release(self) -> None:
        """Give a permit back, to whoever waits longest."""
        with self._lock:
            while self._line and self._free >= 0:
                turn = self._line.popleft()
                if turn.set_running_or_notify_cancel():  # not if its task has given up waiting
                    break
            else:
                self._free += 1
                return
        turn.set_result(None)

    def turn(self, *, first: bool = False) -> Future[None] | None:
        """Stand in line: done when a permit has been given; to be cancelled by who gives up. None: it has one."""
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return None
            turn: Future[None] = Future()
            if first:
                self._line.appendleft(turn)
            else:
                self._line.append(turn)
            return turn
