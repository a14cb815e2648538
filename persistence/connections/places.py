"""How many may do something at once, counted for threads and asyncio tasks together, first come, first served."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future


class Places:
    """As a semaphore. A thread waits for its place, a task awaits it; neither holds up the other's scheduler."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._line: deque[Future[None]] = deque()
        self._lock = threading.Lock()

    def take(self) -> None:
        """Wait in this thread until a place is free, and take it."""
        if (turn := self._queue()) is not None:
            turn.result()

    async def atake(self) -> None:
        """As ``take``, for a task. One that is cancelled takes none."""
        if (turn := self._queue()) is None:
            return
        try:
            await asyncio.wrap_future(turn)
        except asyncio.CancelledError:
            if not turn.cancelled():  # it has the place, or is being given it at this moment
                self.give()
            raise

    def give(self) -> None:
        """Give a place back, to whoever waits longest."""
        with self._lock:
            while self._line:
                turn = self._line.popleft()
                if turn.set_running_or_notify_cancel():  # not if its task has given up waiting
                    break
            else:
                self._free += 1
                return
        turn.set_result(None)

    def _queue(self) -> Future[None] | None:
        with self._lock:
            if self._free:
                self._free -= 1
                return None
            turn: Future[None] = Future()
            self._line.append(turn)
            return turn
