"""Cancel and retry: somebody wants a run to end, or to go on after it has ended (R14, R5)."""

from __future__ import annotations

from django.db import transaction

from holdfast import faults
from holdfast.errors import InvalidInputError, RetryRefusedError, RunEndedError
from holdfast.persistence import ledger
from holdfast.persistence.ids import RunId
from holdfast.persistence.models.runs import RunStatus
from holdfast.persistence.records import Bell, Run
from holdfast.runner import dispatch
from holdfast.runner.runs import sweep
from holdfast.runner.runs.rollback import refuse_elsewhere
from holdfast.runner.signals import announce


def cancel(run_id: RunId, *, rollback: bool = False) -> Run:
    """Ask for the run's end; ``rollback`` also deletes what it wrote to its thread.

    A run that nobody executes ends at once; an executing one at its next step boundary, or after GRACE
    seconds under its executor. Raises RunNotFoundError, RunEndedError; InvalidInputError for a rollback of
    checkpoints that are elsewhere than in Django's database.
    """
    if type(rollback) is not bool:
        raise InvalidInputError(f"rollback is True or False, not {rollback!r}.", field="rollback")
    if rollback:
        run = ledger.get(run_id)
        refuse_elsewhere(run.graph, run.version, run.thread_id)
    with transaction.atomic(using=ledger.alias()):
        if not ledger.request_cancel(run_id, rollback=rollback, reason="cancelled"):
            run = ledger.get(run_id)
            raise RunEndedError(
                f"Run {run_id} has ended already; it is {run.status}.", run_id=run_id, status=run.status
            )
        transaction.on_commit(_apply, using=ledger.alias(), robust=True)
    return ledger.get(run_id)


def _apply() -> None:
    faults.point("cancel-after-commit")
    apply()


def apply() -> None:
    """End those of the runs asked for that nobody executes, now and not at the next sweep."""
    ended = ledger.apply_cancels()
    for run in ended:
        announce(run)
    sweep.ring_for_next(ended)
    sweep.roll_back()


def retry(run_id: RunId) -> Run:
    """Queue a failed or cancelled run again; it goes on from its last checkpoint.

    Raises RunNotFoundError; RetryRefusedError if a later run has entered its thread, if its checkpoints
    are gone, or if the run has not failed.
    """
    with transaction.atomic(using=ledger.alias()):
        run = ledger.retry(run_id)
        if run is None:
            raise _refusal(run_id)
        bell = ledger.bell(run)
        transaction.on_commit(lambda: _ring(bell), using=ledger.alias(), robust=True)
        faults.point("retry-before-commit")
    return run


def _ring(bell: Bell) -> None:
    faults.point("retry-after-commit")
    dispatch.ring(bell)


def _refusal(run_id: RunId) -> RetryRefusedError:
    run = ledger.get(run_id)
    obstacle = ledger.retry_obstacle(run_id) or {}
    if run.status not in {RunStatus.FAILED, RunStatus.CANCELLED}:
        reason = f"it is {run.status}; only a failed or cancelled run can be retried"
    elif obstacle.get("holds_thread"):
        reason = "its rollback is under way; try again in a second"
    elif later := obstacle.get("later_run"):
        reason = (
            f"run {later} has entered its thread since, and the retry would go on from that run's state; "
            "use holdfast.fork(thread_id, checkpoint_id) to go on from its own"
        )
    elif holder := obstacle.get("holder"):
        reason = f"run {holder} holds its thread; wait for that run's end, or use holdfast.fork()"
    elif obstacle.get("rolled_back"):
        reason = (
            "it was rolled back after effects, which would happen again; enqueue it anew if that is meant"
        )
    else:
        reason = (
            "its checkpoints have been deleted; use holdfast.fork() from one that is left, or enqueue it anew"
        )
    return RetryRefusedError(
        f"Run {run_id} cannot be retried: {reason}.", run_id=run_id, status=run.status, reason=reason
    )
