"""The pipe that ends a consumer's sleep: what another thread has done may concern it.

Only the sleeper reads it. A wake-up that nobody sleeps for is kept, so that none is ever missed.
"""

from __future__ import annotations

import os
import select
import threading
from contextlib import suppress


class Wakeup:
    """Belongs to the thread that made it, until another says that it is the one that sleeps."""

    def __init__(self) -> None:
        self._sleeper = threading.get_ident()
        self._pipe: tuple[int, int] | None = None

    def sleeps_here(self) -> None:
        """The calling thread is the sleeper from now on."""
        self._sleeper = threading.get_ident()

    def open(self) -> int:
        """The descriptor to sleep on; before it is there, nobody sleeps and nobody is woken."""
        if self._pipe is None:
            self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        return self._pipe[0]

    @property
    def descriptors(self) -> list[int]:
        """The descriptor to sleep on, if it is there."""
        return [] if self._pipe is None else [self._pipe[0]]

    def wake(self) -> None:
        """End the sleep, unless the sleeper itself calls."""
        if threading.get_ident() != self._sleeper:
            self.poke()

    def poke(self) -> None:
        """End the sleep, or the next one."""
        if self._pipe is not None:
            with suppress(OSError):  # full: it is awake already
                os.write(self._pipe[1], b"\0")

    def drain(self) -> None:
        """Forget the wake-ups so far."""
        if self._pipe is not None:
            with suppress(BlockingIOError):
                os.read(self._pipe[0], 4096)

    def sleep(self, seconds: float, also: list[int]) -> list[int]:
        """Sleep until woken, or until one of the other descriptors is readable; those that are."""
        poller = select.poll()
        for descriptor in [*also, *self.descriptors]:
            poller.register(descriptor, select.POLLIN)
        return [descriptor for descriptor, _ in poller.poll(seconds * 1000)]

    def close(self) -> None:
        """Close the pipe."""
        pipe, self._pipe = self._pipe, None
        for descriptor in pipe or ():
            with suppress(OSError):
                os.close(descriptor)
