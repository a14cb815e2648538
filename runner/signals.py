"""Django signals of the runner, and who calls their receivers."""

from __future__ import annotations

import logging
import queue
import threading
from typing import Final

from django.db import connections
from django.dispatch import Signal

from holdfast.per_process import PerProcess
from holdfast.persistence.records import Run

logger = logging.getLogger("holdfast.signals")

run_settled = Signal()
"""Sent inside settle's transaction, with ``run``: what a receiver writes through the same alias commits with
the run's end or not at all. A receiver that raises makes settle fail: another attempt, which executes nothing that
is done, settles the run, or it is set aside after MAX_CRASHES. So does one that leaves the transaction idle for more
than IDLE_IN_TRANSACTION seconds, as a call of another service may; ``transaction.on_commit`` is the place for those."""

run_ended_by_sweep = Signal()
"""Sent after a run was ended from outside, with ``run``: by the sweep (deadline, cancel, too many deaths), or by
the heartbeat of a process whose executor did not stop for a cancel. In a worker on a thread of its own."""


def announce(run: Run) -> None:
    """Tell that the run was ended from outside; a receiver that raises is logged."""
    for receiver, outcome in run_ended_by_sweep.send_robust(sender=Run, run=run):
        if isinstance(outcome, Exception):
            logger.error("receiver %r of run_ended_by_sweep failed", receiver, exc_info=outcome)


def announce_apart(run: Run) -> None:
    """The same for the heartbeat, which no receiver may keep from renewing leases: it returns at once."""
    if run_ended_by_sweep.has_listeners(Run):
        _teller().tell(run)


class _Teller:
    """A thread that calls receivers, one after the other."""

    def __init__(self) -> None:
        self._runs: queue.SimpleQueue[Run] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="holdfast-teller", daemon=True).start()

    def tell(self, run: Run) -> None:
        self._runs.put(run)

    def _run(self) -> None:
        while True:
            run = self._runs.get()
            try:
                announce(run)
            except BaseException:  # a receiver's exit is none of this process
                logger.exception("a receiver of run_ended_by_sweep failed")
            if self._runs.empty():
                connections.close_all()  # nobody else would close what receivers opened in this thread


_teller: Final = PerProcess(_Teller)
