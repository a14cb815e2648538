"""Settle: write down how an attempt ended, give the thread free, and ring for who comes next."""

from __future__ import annotations

import logging
from functools import partial

from holdfast.errors import HoldfastError, LeaseLostError, NotSerializableError, RunFailedError
from holdfast.persistence import codec, ledger
from holdfast.persistence.encryption import bindings, keyring
from holdfast.persistence.models.runs import RunStatus
from holdfast.persistence.records import Claim, Run
from holdfast.runner import dispatch
from holdfast.runner.runs import questions
from holdfast.runner.runs.outcome import Drained, Failed, Finished, Interrupted, Lost, Outcome
from holdfast.runner.runs.process import Execution
from holdfast.runner.signals import run_settled

logger = logging.getLogger("holdfast.settle")


def settle(claim: Claim, execution: Execution, outcome: Outcome) -> Run | None:
    """The run as it stands now; None if the lease was lost, in which case nothing was written (P2).

    Raises RunFailedError after a failed run has been settled, for Flower and Sentry to see.
    """
    freed = []
    with ledger.pooled():
        try:
            run = _write(claim, execution, outcome)
        except LeaseLostError:
            run = None
        if run is None and execution.fence.unflushed:
            run = _given_back(claim)
        if run is not None and run.status.ended:
            freed = ledger.freed_thread(run.thread_id)
    if run is None:
        logger.warning("run %s was taken over; this attempt wrote nothing more", claim.run.id)
        return None
    dispatch.ring_all(freed)
    if run.status is RunStatus.QUEUED:
        dispatch.ring(ledger.bell(run))
    logger.info("run %s of %s: %s", run.id, run.graph, run.status)
    if isinstance(outcome, Failed) and run.status is RunStatus.FAILED:
        raise RunFailedError(
            f"run {run.id} of graph {run.graph!r} failed: {type(outcome.exception).__name__}",
            run_id=run.id,
            error=run.error,
        ) from _cause(outcome)
    return run


def _cause(outcome: Failed) -> BaseException | None:
    """What Celery's result backend, Flower and Sentry get to see of the error besides its type."""
    return None if keyring().encrypts else outcome.exception


def _given_back(claim: Claim) -> Run | None:
    """The run, where nobody has taken it over: then a crash of the server refused what this attempt wrote."""
    try:
        run = ledger.hand_over(claim)
    except LeaseLostError:
        return None
    logger.warning("run %s goes on from what a crash of the database has left", claim.run.id)
    return run


def _write(claim: Claim, execution: Execution, outcome: Outcome) -> Run | None:
    def tell(run: Run) -> None:
        run_settled.send(sender=Run, run=run)

    # Without a listener nobody needs settle to be a transaction of Django's.
    inside = tell if run_settled.has_listeners(Run) else None
    lines = execution.timeline.take()
    end = partial(ledger.settle, claim, lines=lines, demands=execution.fence.demands, inside=inside)
    match outcome:
        case Finished(values=values):
            try:
                result = codec.dumps(
                    values,
                    field="result",
                    extra=codec.types_of(claim.run.graph, claim.run.version),
                    binding=bindings.run("result", claim.run.id),
                )
            except NotSerializableError as refused:
                error = Failed(exception=refused).error
                return end(RunStatus.FAILED, error=error)
            return end(RunStatus.SUCCEEDED, result=result)
        case Interrupted(interrupts=interrupts, spec=spec, saver=saver):
            nodes = execution.timeline.asking()
            asked = questions.waiting(
                claim.run.id, claim.run.thread_id, interrupts, nodes, spec.allowlist, saver
            )
            if len(asked) < len({interrupt.id for interrupt in interrupts}):
                # Another attempt has gone on from there, which the fence tells; otherwise it is our error.
                lost = HoldfastError("the graph asks questions that are not on its checkpoints")
                return end(RunStatus.FAILED, error=Failed(exception=lost).error)
            return end(RunStatus.INTERRUPTED, questions=asked)
        case Drained() if execution.cancel_since is not None:
            error = {"type": "Cancelled", "message": "cancelled between two steps"}
            return end(RunStatus.CANCELLED, error=error)
        case Drained():
            ledger.retried(lambda: ledger.record_steps(claim, lines))
            return ledger.hand_over(claim)
        case Failed() as failed:
            return end(RunStatus.FAILED, error=failed.error)
        case Lost():
            return None
