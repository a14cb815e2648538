"""Enqueue: a run becomes a row in the caller's transaction, and its bell goes with it or follows the commit (P1, R17).

It goes with it where broker and runs share a database.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.db import connections, transaction

from holdfast import faults
from holdfast.errors import IdempotencyConflictError, NotMigratedError, TransactionError
from holdfast.persistence import ledger, trouble
from holdfast.persistence.records import Bell, NewRun, Run
from holdfast.runner import dispatch
from holdfast.runner.runs import cancel
from holdfast.runner.runs.request import Request, checked

logger = logging.getLogger("holdfast.enqueue")


def enqueue(requests: Sequence[Request]) -> list[Run]:
    """Insert the runs, all or none, and ring for those that are due: to be heard once the transaction has committed.

    Raises TransactionError, IdempotencyConflictError, ThreadBusyError, and what ``checked`` does.
    """
    new = [checked(request) for request in requests]
    _refuse_foreign_transaction()
    if len(new) == 1 and ledger.stands_alone(new[0]) and (run := _alone(new[0])) is not None:
        return [run]
    return _in_transaction(new)


def _alone(new: NewRun) -> Run | None:
    """One run and its bell in one round trip, in the caller's transaction or as one; None if that did not work."""
    connection = connections[ledger.alias()]
    if not (connection.in_atomic_block or connection.get_autocommit()):
        return None  # the caller commits by hand: what belongs together needs a transaction around it
    due = new.due_at is None and new.delay == 0
    along = dispatch.along([ledger.first_bell(new)]) if due else None
    faults.point("enqueue-before-commit")
    try:
        run = ledger.insert_alone(new, [along] if along else [])
    except ledger.DATABASE_ERRORS as error:
        if ledger.is_lost(error):
            raise
        # Nothing is there. If it was for the bell's sake, the longer way does without (R17); if not, it will tell.
        level = logging.DEBUG if isinstance(trouble.explain(error), NotMigratedError) else logging.WARNING
        logger.log(level, "run %s could not be inserted at once: %s", new.id, " ".join(str(error).split()))
        return None
    if run is not None:
        _ring_after_commit([] if along else _due([run]))
    return run


def _in_transaction(new: Sequence[NewRun]) -> list[Run]:
    with transaction.atomic(using=ledger.alias()):
        order = _order(new)
        made = dict(zip(order, ledger.insert([new[place] for place in order]), strict=True))
        inserted = [made[place] for place in range(len(new))]
        for run, (stored, same, _) in zip(new, inserted, strict=True):
            if not same:
                raise IdempotencyConflictError(
                    f"The idempotency key {run.idempotency_key!r} made run {stored.id} of graph "
                    f"{stored.graph!r} with another request; use another key, or the same request.",
                    key=run.idempotency_key,
                    run_id=stored.id,
                )
        bells = _due([stored for stored, _, created in inserted if created])
        if dispatch.ring_along(bells):
            bells = []
        _ring_after_commit(bells)
        if any(run.multitask_strategy in {"interrupt", "rollback"} for run in new):
            transaction.on_commit(cancel.apply, using=ledger.alias(), robust=True)
        faults.point("enqueue-before-commit")
    return [stored for stored, _, _ in inserted]


def _order(new: Sequence[NewRun]) -> list[int]:
    """Which to insert first: two calls that name the same threads or keys wait for each other in one order."""

    def names(place: int) -> tuple[str, str]:
        run = new[place]
        if run.thread_id != str(run.id):  # the runs of a thread go in the order in which they were given
            return run.thread_id, ""
        return "", run.idempotency_key or ""

    return sorted(range(len(new)), key=names)


def _due(runs: Sequence[Run]) -> list[Bell]:
    """The bells to ring now; for what is due later the sweep rings (R15)."""
    return [ledger.bell(run) for run in runs if run.not_before <= run.created_at]


def _ring_after_commit(bells: list[Bell]) -> None:
    def ring() -> None:
        faults.point("enqueue-after-commit")
        dispatch.ring_all(bells)

    transaction.on_commit(ring, using=ledger.alias(), robust=True)


def _refuse_foreign_transaction() -> None:
    """R17: a run enqueued beside rows of another database could outlive their rollback."""
    ours = ledger.alias()
    for connection in connections.all(initialized_only=True):
        if connection.alias != ours and connection.in_atomic_block and not connections[ours].in_atomic_block:
            raise TransactionError(
                f"enqueue was called inside a transaction of the database {connection.alias!r} only, but runs live "
                f"in {ours!r}: a rollback would leave the run behind. Open transaction.atomic(using={ours!r}) "
                "around it, or enqueue after the commit.",
                alias=connection.alias,
            )
