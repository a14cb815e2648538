"""Watches over the heartbeat, which watches over everything else: it must not stand still itself.

Two things stop it. Its connection falls silent, and it waits for an answer that never comes: after LEASE seconds all
connections of Holdfast's in this process are broken, and it opens a new one. (Where only the saver's is silent, the
heartbeat asks the server what that connection's backend does.) Or a node holds the interpreter for
itself (an expression that backtracks for ever): then no thread of Python's runs, and the process is ended from C, with a
traceback that names the place. Its run has been taken over by then, and is a crash like any other (P9).

A prefork child, which its parent replaces, has LEASE and GRACE seconds. The one process of another pool must not be
ended for having been stopped, since perhaps nobody starts it again: it has as many seconds of processor time, on each of
its processors, so that no less than LEASE and GRACE have passed, however many are busy.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
import time

from django.db.backends.base.base import BaseDatabaseWrapper

from holdfast.conf import settings
from holdfast.persistence import ledger
from holdfast.persistence.connections import Connection, hang_up, pool, silent

logger = logging.getLogger("holdfast.worker")


class Watch:
    """A thread beside the heartbeat's. ``replaced``: whether a new process comes for one that is ended."""

    def __init__(self, *, replaced: bool) -> None:
        self.connection: Connection | None = None
        """The heartbeat's; None while it has none."""
        self._limit = _Elapsed() if replaced else _Burnt()
        self._turned = time.monotonic()
        self._silent: dict[Connection, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="holdfast-watch", daemon=True)

    def start(self) -> None:
        """Start watching; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()
        self._limit.lift()

    def turned(self) -> None:
        """The heartbeat has come round once more."""
        self._turned = time.monotonic()
        self._limit.put_off(settings().LEASE + settings().GRACE)

    def look(self, wrapper: BaseDatabaseWrapper) -> None:
        """Break connections that have been silent for a third of a lease; asked by the heartbeat."""
        now = time.monotonic()
        asking = pool(wrapper.alias).asking(settings().LEASE)
        self._silent = {each: self._silent.get(each, now) for each in silent(wrapper, asking)}
        for connection, since in self._silent.items():
            if now - since > settings().LEASE / 3:  # an answer was not just on its way
                logger.warning("a statement was never answered: its connection is broken")
                hang_up(connection)

    def _run(self) -> None:
        while not self._stopped.wait(settings().LEASE / 4):
            waited = time.monotonic() - self._turned
            if waited > settings().LEASE and (connection := self.connection) is not None:
                self.connection = None
                logger.warning(
                    "the heartbeat has heard nothing for %.0f s: its connections are broken", waited
                )
                hang_up(connection)
                pool(ledger.alias()).hang_up()


class _Elapsed:
    """Ends the process once so many seconds have passed, whatever Python does."""

    def put_off(self, seconds: float) -> None:
        if sys.__stderr__ is not None:
            faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)

    def lift(self) -> None:
        faulthandler.cancel_dump_traceback_later()


class _Burnt:
    """Ends the process, by SIGPROF, once it has burnt so many seconds on each of its processors."""

    def __init__(self) -> None:
        self._free = signal.getsignal(signal.SIGPROF) is signal.SIG_DFL  # otherwise a profiler has it
        if self._free and sys.__stderr__ is not None:
            faulthandler.register(
                signal.SIGPROF, file=sys.__stderr__, chain=True
            )  # then what it does by default

    def put_off(self, seconds: float) -> None:
        if self._ours():
            signal.setitimer(signal.ITIMER_PROF, seconds * _processors())

    def lift(self) -> None:
        if self._ours():
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _ours(self) -> bool:
        """Whether no profiler has the timer, which a process has one of: theirs comes again, ours does not."""
        return self._free and signal.getitimer(signal.ITIMER_PROF)[1] == 0


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
