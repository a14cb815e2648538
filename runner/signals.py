"""Django signals of the runner."""

from __future__ import annotations

import logging

from django.dispatch import Signal

from holdfast.persistence.records import Run

logger = logging.getLogger("holdfast.signals")

run_settled = Signal()
"""Sent inside settle's transaction, with ``run``: what a receiver writes through the same alias commits with
the run's end or not at all. A receiver that raises makes settle fail: another attempt, which executes nothing that
is done, settles the run, or it is set aside after MAX_CRASHES. So does one that leaves the transaction idle for more
than IDLE_IN_TRANSACTION seconds, as a call of another service may; ``transaction.on_commit`` is the place for those."""

run_ended_by_sweep = Signal()
"""Sent after a run was ended from outside, with ``run``: by the sweep (deadline, cancel, too many deaths), or by
the heartbeat of a process whose executor did not stop for a cancel."""


def announce(run: Run) -> None:
    """Tell that the run was ended from outside; a receiver that raises is logged."""
    for receiver, outcome in run_ended_by_sweep.send_robust(sender=Run, run=run):
        if isinstance(outcome, Exception):
            logger.error("receiver %r of run_ended_by_sweep failed", receiver, exc_info=outcome)
