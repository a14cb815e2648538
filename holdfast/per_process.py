"""What a process has one of, and a forked child must not share: a thread, an event loop, connections.

Celery's workers fork their children, and nothing of the sort survives that: a thread is not there in the child,
and a socket would be used by both. It is made at first use, and made anew in a child. Never import-time work.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Call it for this process's one. For module globals: it is known to the interpreter for ever."""

    def __init__(self, make: Callable[[], T]) -> None:
        """``make`` is called once in each process, by the first caller, while the others wait."""
        self._make = make
        self._made: list[T] = []
        self._making = threading.Lock()
        # The parent's are kept: collecting one in the child would close what the parent still uses.
        self._inherited: list[list[T]] = []
        os.register_at_fork(after_in_child=self.start_afresh)

    def __call__(self) -> T:
        """This process's one. Raises what ``make`` raises; the next call tries again."""
        if not self._made:
            with self._making:
                if not self._made:
                    self._made.append(self._make())
        return self._made[0]

    def start_afresh(self) -> None:
        """What a forked child does; also for a test that plays several processes in one."""
        self._inherited.append(self._made)
        self._made = []
        self._making = threading.Lock()  # a thread of the parent may have held it
