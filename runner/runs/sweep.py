"""Finds what nobody looks after: lost leases, missed deadlines, unanswered cancels, lost bells (R10, R14 to R16);
and the checkpoints that ended runs need no longer.

Runs about once a second in each worker process; a lock that ends with its statement lets one process at a
time judge leases. Whatever it changes, it changes through the ledger; then it rings.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from holdfast.persistence import ledger
from holdfast.persistence.ids import ThreadId
from holdfast.persistence.records import Run
from holdfast.runner import dispatch
from holdfast.runner.runs.process import Process
from holdfast.runner.runs.thinning import thin_later
from holdfast.runner.signals import announce_apart

logger = logging.getLogger("holdfast.sweep")

IDLE_SECONDS = 1.0
"""A process counts as an idle consumer after this long without a run; between two runs of a backlog it is not."""


def sweep(process: Process, *, judge: bool) -> None:
    """One round. ``judge`` is False while this process was itself too late to judge others (R9)."""
    if judge:
        for lost in ledger.sweep_lost():
            _tell(lost)
    ended = [*ledger.sweep_deadlines(), *ledger.apply_cancels()]
    ledger.drop_stale_requests()
    for run in ended:
        announce_apart(run)
    ring_for_next(ended)
    roll_back()
    thin_later(ledger.histories_due())
    if process.queues:
        idle = process.idle_for() >= IDLE_SECONDS
        due = ledger.bells(
            queues=process.queues, default_queue=process.default_queue, known=process.graphs, idle=idle
        )
        dispatch.ring_all(due)


def ring_for_next(ended: Iterable[Run]) -> None:
    """Ring for the runs that the threads of these are free for now: once a thread, however many of its runs ended."""
    threads = dict.fromkeys(run.thread_id for run in ended)
    dispatch.ring_all([bell for thread_id in threads for bell in ledger.freed_thread(thread_id)])


def roll_back() -> None:
    """Finish the rollbacks that are under way, and ring for the threads they free."""
    for thread_id in ledger.roll_back():
        dispatch.ring_all(ledger.freed_thread(thread_id))


def after_revoke(thread_id: ThreadId) -> None:
    """A running run was cancelled under its executor: undo what it wrote, if asked, and ring for the next."""
    roll_back()
    dispatch.ring_all(ledger.freed_thread(thread_id))


def _tell(lost: ledger.Lost) -> None:
    run: Run = lost.run
    if run.status.ended:
        logger.error("run %s is set aside: %s", run.id, (run.error or {}).get("message"))
        announce_apart(run)
        dispatch.ring_all(ledger.freed_thread(run.thread_id))
    else:
        logger.warning(
            "run %s was lost by %s (%s; crashes: %d); ringing for another",
            run.id,
            lost.owner,
            lost.cause,
            run.crashes,
        )
        dispatch.ring(lost.bell)
