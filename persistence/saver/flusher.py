"""Looks, a few milliseconds later, at what has been left to wait: one thread a process, or the asyncio loop's own timer.

Nearly always somebody has come for it meanwhile: then nothing is done, and no other thread was disturbed.
What still waits is flushed on a few threads of their own, or in a task of the loop, so that one database call does
not hold up another.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from holdfast.per_process import PerProcess

THREADS: Final = 4
"""How many flushes are under way at once in one process."""


class _Flusher:
    def __init__(self) -> None:
        self._later: deque[tuple[float, Callable[[], bool], Callable[[], None]]] = deque()
        self._wanted = threading.Event()
        self._flushes = ThreadPoolExecutor(THREADS, thread_name_prefix="holdfast-flush")
        threading.Thread(target=self._run, name="holdfast-flusher", daemon=True).start()

    def later(self, seconds: float, is_waiting: Callable[[], bool], flush: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, is_waiting, flush))
        if not self._wanted.is_set():
            self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            while self._later:
                due, is_waiting, flush = self._later.popleft()
                if not is_waiting():
                    continue
                if (pause := due - time.monotonic()) > 0:
                    time.sleep(pause)  # an event would have to be set for each step, which costs more
                    if not is_waiting():
                        continue
                try:
                    self._flushes.submit(flush)
                except RuntimeError:  # the interpreter is ending, and somebody still waits for his writes
                    flush()
            self._wanted.clear()
            if self._later:  # handed in between the last look and the clearing
                self._wanted.set()


_flusher: Final = PerProcess(_Flusher)

_tasks: Final[set[asyncio.Task[None]]] = set()  # the loop keeps none of its tasks alive


def flush_later(seconds: float, is_waiting: Callable[[], bool], flush: Callable[[], None]) -> None:
    """Call ``flush`` on another thread in ``seconds``, if ``is_waiting`` still says so then."""
    _flusher().later(seconds, is_waiting, flush)


def aflush_later(
    seconds: float, is_waiting: Callable[[], bool], flush: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """As ``flush_later``, in a task of the running loop; called by one of its tasks."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        if is_waiting():
            task = loop.create_task(flush())
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)

    loop.call_later(seconds, look)
