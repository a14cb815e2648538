"""Django signals of the runner."""

from __future__ import annotations

import logging

from django.dispatch import Signal

from holdfast.persistence.records import Run

logger = logging.getLogger("holdfast.signals")

run_settled = Signal()
"""Sent inside settle's transaction, with ``run``: what a receiver writes through the same alias commits with
the run's end or not at all. A receiver that raises makes settle fail."""

run_ended_by_sweep = Signal()
"""Sent after the sweep ended a run that nobody executed (deadline, cancel, too many deaths), with ``run``."""


def announce(run: Run) -> None:
    """Tell that the sweep ended the run; a receiver that raises is logged."""
    for receiver, outcome in run_ended_by_sweep.send_robust(sender=Run, run=run):
        if isinstance(outcome, Exception):
            logger.error("receiver %r of run_ended_by_sweep failed", receiver, exc_info=outcome)
