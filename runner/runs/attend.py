"""Attend to a bell: claim, execute, settle. What the Celery task and ``run_now`` both call."""

from __future__ import annotations

import logging
from contextlib import suppress

from holdfast.errors import RunNotFoundError
from holdfast.graphs import registry
from holdfast.persistence import ledger
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import RunId
from holdfast.persistence.models.runs import RunStatus
from holdfast.persistence.node_cache.tally import tally
from holdfast.persistence.records import Run
from holdfast.runner import dispatch
from holdfast.runner.runs.claim import Claimed, claimed
from holdfast.runner.runs.execute import execute
from holdfast.runner.runs.outcome import Drained
from holdfast.runner.runs.process import OUTAGE, Execution, Process, here
from holdfast.runner.runs.settle import settle
from holdfast.runner.runs.thinning import thin_now
from holdfast.runner.runs.timeline import Timeline

logger = logging.getLogger("holdfast.attend")


def attend(run_id: RunId) -> Run | None:
    """Execute the run as far as it goes; None if it was not to be had, or was lost on the way.

    Raises RunFailedError after a failed run has been settled.
    """
    process = here()
    if not process.draining:
        with claimed(process, run_id) as had:
            if had is not None:
                return _attempt(process, had)
    if process.draining:  # perhaps only since it waited for a beat or to be admitted
        _pass_on(run_id)
    else:
        _say_why_not(run_id)
    return None


def _say_why_not(run_id: RunId) -> None:
    """Mostly another has it. But a worker that was started before its graph was written leaves it to others for ever."""
    with suppress(RunNotFoundError), ledger.pooled():
        run = ledger.get(run_id)
        known = {(spec.name, spec.version) for spec in registry.all()}
        if run.status is RunStatus.QUEUED and (run.graph, run.version) not in known:
            logger.warning(
                "run %s is left to others: this worker knows no graph %r of version %r; restart it if the graph is new",
                run_id,
                run.graph,
                run.version,
            )
            return
    logger.debug("run %s is not to be had", run_id)


def _pass_on(run_id: RunId) -> None:
    """The bell was taken before the process was told to go: it is for another (R13)."""
    with suppress(RunNotFoundError):
        run = ledger.get(run_id)
        if run.status is RunStatus.QUEUED:
            logger.info("this process is draining: the bell of run %s is passed on", run_id)
            dispatch.ring(ledger.bell(run))


def _attempt(process: Process, had: Claimed) -> Run | None:
    claim, run = had.claim, had.claim.run
    execution = Execution(
        claim=claim,
        fence=Fence(run.id, claim.token, run.thread_id, entered=claim.entered, era=claim.era),
        timeline=Timeline(run_id=run.id, delivery=run.deliveries, owner=process.owner),
        admission=had.admission,
    )
    with process.executing(execution):
        try:
            outcome = execute(claim, execution)
        except BaseException:  # the process is told to stop at once: give the run back, then obey
            execution.settling = True
            settle(claim, execution, Drained())
            raise
        execution.settling = True
        try:
            with ledger.outlasting(lambda: process.outlasts(OUTAGE)):  # an outage is no crash of the run's
                return settle(claim, execution, outcome)
        finally:
            if not process.beating:  # otherwise the heartbeat does it
                tally().write(ledger.alias(), pause=0)
                thin_now(run.thread_id)
