"""One attempt at a run, from its claim to its end, under one token (R1, R2, R3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from psycopg.types.json import Jsonb

from holdfast import faults
from holdfast.conf import settings
from holdfast.errors import IdleInTransactionError, LeaseLostError
from holdfast.persistence.connections import has_idled
from holdfast.persistence.ids import RunId, ThreadId, Token
from holdfast.persistence.ledger.rows import (
    Row,
    as_asked,
    as_bells,
    as_json,
    as_run,
    as_typed,
    first,
    question_row,
    stored_error,
)
from holdfast.persistence.ledger.statements import (
    DATABASE_ERRORS,
    execute,
    in_transaction,
    retried,
    savepoint,
    sqlstate,
)
from holdfast.persistence.ledger.timeline import line_parameters
from holdfast.persistence.models.runs import RunStatus
from holdfast.persistence.records import Beat, Bell, Claim, Question, Run, Session, StepRecord

_NOT_TO_BE_HAD = {
    "23505",  # unique_violation: another run of the thread was claimed at the same moment (R4)
    "55P03",  # lock_not_available: somebody holds the row for too long (R11)
}


def claim(
    run_id: RunId,
    *,
    token: Token,
    owner: str,
    session: Session,
    alone: bool,
    known: Sequence[tuple[str, str]],
) -> Claim | None:
    """Take the run for this process (R4), or None: somebody has it, or it is not its turn.

    ``alone`` says that this process executes nothing else (R12); ``known`` are the graphs, with version,
    that it can execute: another deploy's run is left to that deploy's workers.
    """
    parameters = {
        "id": run_id,
        "token": token,
        "owner": owner,
        "session_pid": session.pid,
        "session_start": session.start,
        "alone": alone,
        "lock_timeout": f"{int(settings().LOCK_TIMEOUT * 1000)}ms",
        "known": [f"{name}@{version}" for name, version in known],
    }

    def take() -> list[Row]:
        with savepoint():
            return execute("run_claim", parameters)

    try:
        rows = retried(take)
    except DATABASE_ERRORS as error:
        if sqlstate(error) in _NOT_TO_BE_HAD:
            return None
        raise
    faults.point("claim-after-commit")
    if not (row := first(rows)):
        return None
    return Claim(
        run=as_run(row),
        token=token,
        entered=row["entered"],
        era=row["era"],
        backend=row["backend"],
        stored_config=as_json(row["config"]),
        context=as_typed(row, "context"),
        asked=as_asked(row),
        answers=as_typed(row, "answers") if row["answers_type"] else None,
    )


def wants_solitude(run_id: RunId) -> bool:
    """Whether only R12 kept the run from being claimed."""
    row = first(execute("run_wants_solitude", {"id": run_id}))
    return bool(row and row["alone"])


def pass_on(run_id: RunId, *, waited: float) -> list[Bell]:
    """The bell of a run that was kept waiting for that many seconds, unless somebody has rung since."""
    return as_bells(execute("run_pass_on", {"id": run_id, "seconds": waited}))


def renew(leases: Sequence[tuple[RunId, Token]], *, session: Session, draining: bool) -> list[Beat]:
    """One beat for all of a process's leases (R8). Not repeated here: the next beat is the repeat."""
    if not leases:
        return []
    parameters = {
        "ids": [run_id for run_id, _ in leases],
        "tokens": [token for _, token in leases],
        "session_pid": session.pid,
        "session_start": session.start,
        "draining": draining,
    }
    renewed = {row["id"]: row["rollback"] for row in execute("run_renew", parameters)}
    held = set(renewed)
    if len(held) < len(leases):  # locked by a settle, or lost: ask
        held |= {row["id"] for row in execute("run_still_mine", parameters)}
    return [
        Beat(
            run_id=run_id,
            held=run_id in held,
            cancel=renewed.get(run_id) is not None,
            rollback=bool(renewed.get(run_id)),
        )
        for run_id, _ in leases
    ]


def settle(
    claim: Claim,
    status: RunStatus,
    *,
    result: tuple[str, bytes | None] | None = None,
    error: Mapping[str, Any] | None = None,
    questions: Sequence[Question] = (),
    lines: Sequence[StepRecord] = (),
    demands: Mapping[str, object] | None = None,
    inside: Callable[[Run], None] | None = None,
) -> Run:
    """End the attempt, and write the ``lines`` of its timeline that are left, in one statement.

    ``demands``: refused, too, unless these hold of the server (Fence.demands). ``inside`` is called in
    the same transaction. Raises LeaseLostError (P2).
    """
    parameters = {
        **line_parameters(claim, lines),
        "id": claim.run.id,
        "token": claim.token,
        **(demands or {"era": None, "entry_only": False}),
        "status": str(status),
        "ended": status.ended,
        "result_type": result[0] if result else None,
        "result": result[1] if result else None,
        "error": Jsonb(stored_error(error, claim.run.id)) if error else None,
        "questions": Jsonb([question_row(question) for question in questions]) if questions else None,
    }
    return _end("run_settle", claim, parameters, inside)


def hand_over(claim: Claim) -> Run:
    """Give the run back at a step boundary (R13). Raises LeaseLostError (P2)."""
    faults.point("handover-before-commit")
    run = _end("run_hand_over", claim, {"id": claim.run.id, "token": claim.token})
    faults.point("handover-after-commit")
    return run


def revoke(claim: Claim, *, rollback: bool) -> Run:
    """Cancel a run under its executor, which did not stop by itself (R14). Raises LeaseLostError (P2)."""
    parameters = {"id": claim.run.id, "token": claim.token, "rollback": rollback}
    return _end("run_revoke", claim, parameters)


def _end(
    statement: str,
    claim: Claim,
    parameters: Mapping[str, Any],
    inside: Callable[[Run], None] | None = None,
) -> Run:
    attempts = 0

    def end() -> Row | None:
        nonlocal attempts
        attempts += 1
        if attempts > 1 and (row := first(execute("run_settled_by", parameters))):
            return row  # the commit that got no answer had happened (R3)
        faults.point("settle-before-commit")
        with in_transaction() if inside is not None else nullcontext():
            row = first(execute(statement, parameters))
            if row is not None and inside is not None:
                inside(as_run(row))
                faults.point("settle-in-transaction")
        return row

    try:
        row = retried(end)
    except DATABASE_ERRORS as error:
        if inside is None or not has_idled(error):
            raise
        raise IdleInTransactionError(
            "A receiver of run_settled left settle's transaction idle for more than "
            f"{settings().IDLE_IN_TRANSACTION:g} s, and the database ended it (HOLDFAST['IDLE_IN_TRANSACTION']). "
            f"Run {claim.run.id} is not settled; another attempt settles it. Do slow work after the commit.",
            function=None,
            setting="IDLE_IN_TRANSACTION",
        ) from error
    faults.point("settle-after-commit")
    if row is None:
        raise LeaseLostError(
            f"Run {claim.run.id} belongs to another attempt by now; this one wrote nothing.",
            run_id=claim.run.id,
        )
    return as_run(row)


def freed_thread(thread_id: ThreadId) -> list[Bell]:
    """The bell of the run that an ended one's thread is claimable for now (R4, R15)."""
    return as_bells(retried(lambda: execute("run_next_of_thread", {"thread_id": thread_id})))
