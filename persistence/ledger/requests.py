"""What people ask of the ledger: readings, answers, retries, the wish to cancel."""

from __future__ import annotations

from collections.abc import Collection

from psycopg.types.json import Jsonb

from holdfast.errors import RunNotFoundError
from holdfast.persistence.ids import RunId
from holdfast.persistence.ledger.rows import Row, as_run, first, question_row
from holdfast.persistence.ledger.statements import (
    DATABASE_ERRORS,
    alias,
    execute,
    execute_direct,
    retried,
    savepoint,
    sqlstate,
)
from holdfast.persistence.models.runs import RunRow, RunStatus
from holdfast.persistence.records import Run


def get(run_id: RunId) -> Run:
    """Read a run. Raises RunNotFoundError."""
    if not (rows := execute_direct("run_get", {"id": run_id})):
        raise _not_found(run_id)
    return as_run(rows[0])


def glance(run_id: RunId) -> tuple[RunStatus, int]:
    """Its status and how often it was claimed: what changes whenever anything does. Raises RunNotFoundError."""
    if not (rows := execute_direct("run_glance", {"id": run_id})):
        raise _not_found(run_id)
    return RunStatus(rows[0]["status"]), rows[0]["deliveries"]


def _not_found(run_id: RunId) -> RunNotFoundError:
    return RunNotFoundError(f"There is no run {run_id}.", run_id=run_id)


def runs(
    *, status: str | None = None, graph: str | None = None, thread_id: str | None = None, limit: int = 50
) -> list[Run]:
    """The newest runs, newest first."""
    wanted = {"status": status, "graph": graph, "thread_id": thread_id}
    rows = RunRow.objects.using(alias()).filter(**{k: v for k, v in wanted.items() if v is not None})
    return [as_run(dict(row)) for row in rows.order_by("-id").values()[:limit]]


def answer(run: Run, answers: tuple[str, bytes | None], *, to: Collection[str]) -> Run | None:
    """Queue an interrupted run with its answers; None if it no longer asks what ``run`` shows (P13).

    ``to`` are the ids of the questions that they answer: those are not open any more.
    """
    parameters = {
        "id": run.id,
        "answers_type": answers[0],
        "answers": answers[1],
        "questions": _asked(run),
        "answered": list(to),
    }
    row = first(retried(lambda: execute("run_answer", parameters)))
    return as_run(row) if row else None


def requeue_updated(run: Run) -> Run | None:
    """Queue an interrupted run whose thread's state was just written; None if it is not what ``run`` shows."""
    row = first(execute("run_requeue_updated", {"id": run.id, "questions": _asked(run)}))
    return as_run(row) if row else None


def _asked(run: Run) -> Jsonb:
    """The open questions without their values, which may have been encrypted anew meanwhile."""
    asked = [question_row(question) for question in run.questions]
    return Jsonb([{name: part for name, part in row.items() if name != "value"} for row in asked])


def retry(run_id: RunId) -> Run | None:
    """Queue a failed or cancelled run again; None if R5 refuses: ``retry_obstacle`` says why."""
    try:
        with savepoint():
            row = first(execute("run_retry", {"id": run_id}))
    except DATABASE_ERRORS as error:
        if sqlstate(error) == "23505":  # another run holds the thread
            return None
        raise
    return as_run(row) if row else None


def retry_obstacle(run_id: RunId) -> Row | None:
    """What stands in the way of a retry: ``holds_thread``, ``later_run``, ``holder``, ``rolled_back``."""
    return first(execute("run_retry_obstacle", {"id": run_id}))


def request_cancel(run_id: RunId, *, rollback: bool, reason: str) -> bool:
    """Ask for the run's end; False if it has ended, or never was."""
    parameters = {"id": run_id, "rollback": rollback, "reason": reason}
    return bool(retried(lambda: execute("run_request_cancel", parameters)))
