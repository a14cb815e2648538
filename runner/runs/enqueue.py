"""Enqueue: a run becomes a row in the caller's transaction, and a bell when that has committed (P1, R17)."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connections, transaction

from holdfast import faults
from holdfast.errors import IdempotencyConflictError, TransactionError
from holdfast.persistence import ledger
from holdfast.persistence.records import Bell, Run
from holdfast.runner import dispatch
from holdfast.runner.runs import cancel
from holdfast.runner.runs.request import Request, checked


def enqueue(requests: Sequence[Request]) -> list[Run]:
    """Insert the runs, all or none, and ring once the surrounding transaction has committed."""
    new = [checked(request) for request in requests]
    _refuse_foreign_transaction()
    with transaction.atomic(using=ledger.alias()):
        made = {place: ledger.insert(new[place]) for place in _order(requests)}
        inserted = [made[place] for place in range(len(new))]
        for run, (stored, request_hash, created) in zip(new, inserted, strict=True):
            if not created and request_hash != run.request_hash:
                raise IdempotencyConflictError(
                    f"The idempotency key {run.idempotency_key!r} made run {stored.id} of graph "
                    f"{stored.graph!r} with another request; use another key, or the same request.",
                    key=run.idempotency_key,
                    run_id=stored.id,
                )
        ring = [
            ledger.bell(stored)
            for stored, _, created in inserted
            if created and stored.not_before <= stored.created_at  # what is due later, the sweep rings (R15)
        ]
        if dispatch.ring_along(ring):
            ring = []
        transaction.on_commit(lambda: _ring(ring), using=ledger.alias(), robust=True)
        displaced = any(run.multitask_strategy in {"interrupt", "rollback"} for run in new)
        if displaced:
            transaction.on_commit(cancel.apply, using=ledger.alias(), robust=True)
        faults.point("enqueue-before-commit")
    return [stored for stored, _, _ in inserted]


def _order(requests: Sequence[Request]) -> list[int]:
    """Which to insert first: two calls that name the same threads or keys wait for each other in one order."""

    def names(place: int) -> tuple[str, str]:
        request = requests[place]
        if request.thread_id is not None:  # its runs go in the order in which they were given
            return str(request.thread_id), ""
        return "", str(request.idempotency_key or "")

    return sorted(range(len(requests)), key=names)


def _ring(bells: list[Bell]) -> None:
    faults.point("enqueue-after-commit")
    dispatch.ring_all(bells)


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
