"""What people ask of the ledger: new runs, readings, answers, retries, the wish to cancel."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from holdfast.errors import RunNotFoundError, ThreadBusyError
from holdfast.persistence.ids import RunId, ThreadId
from holdfast.persistence.ledger.rows import Row, as_run, first, question_row
from holdfast.persistence.ledger.statements import (
    DATABASE_ERRORS,
    alias,
    execute,
    retried,
    savepoint,
    sqlstate,
)
from holdfast.persistence.models.runs import RunRow, RunStatus, Step
from holdfast.persistence.records import NewRun, Run, StepRecord


class Inserted(NamedTuple):
    """What ``insert`` did: ``created`` is False when the idempotency key had made the run before."""

    run: Run
    request_hash: str
    created: bool


def insert(new: NewRun) -> Inserted:
    """Insert a run in the caller's transaction. Raises ThreadBusyError under the strategy ``reject``."""
    parameters = {
        **{name: getattr(new, name) for name in ("id", "thread_id", "graph", "version", "priority", "queue")},
        **{name: getattr(new, name) for name in ("multitask_strategy", "idempotency_key", "request_hash")},
        **{
            name: getattr(new, name)
            for name in ("delay", "due_at", "max_crashes", "deadline_delay", "deadline_at")
        },
        "input_type": new.input[0],
        "input": new.input[1],
        "context_type": new.context[0],
        "context": new.context[1],
        "config": Jsonb(new.config),
        "metadata": Jsonb(new.metadata),
    }
    if new.multitask_strategy != "enqueue":
        execute("run_lock_thread", {"thread_id": new.thread_id})
    while True:  # at most twice in practice: retention deleted the thread between the two looks
        if rows := execute("run_insert", parameters):
            break
        if new.idempotency_key is not None and (earlier := _by_key(new.idempotency_key)):
            # The statement has made the thread before it met the key; one of our own naming nobody knows.
            execute("thread_drop", {"thread_id": new.thread_id})
            return Inserted(as_run(earlier), earlier["request_hash"], False)
        if new.multitask_strategy == "reject" and (busy := _unfinished(new.thread_id)):
            raise ThreadBusyError(
                f"Thread {new.thread_id!r} has the unfinished run {busy}, and the strategy is 'reject'.",
                thread_id=new.thread_id,
                run_id=busy,
            )
    if new.multitask_strategy in {"interrupt", "rollback"}:
        execute(
            "run_displace",
            {"id": new.id, "thread_id": new.thread_id, "rollback": new.multitask_strategy == "rollback"},
        )
    return Inserted(as_run(rows[0]), new.request_hash, True)


def _by_key(key: str) -> Row | None:
    return first(_select("idempotency_key", key))


def _unfinished(thread_id: ThreadId) -> UUID | None:
    unfinished = [RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.INTERRUPTED]
    rows = RunRow.objects.using(alias()).filter(thread_id=thread_id, status__in=unfinished)
    return rows.order_by("created_at").values_list("id", flat=True).first()


def _select(column: str, value: Any) -> list[Row]:
    return [dict(row) for row in RunRow.objects.using(alias()).filter(**{column: value}).values()]


def get(run_id: RunId) -> Run:
    """Read a run. Raises RunNotFoundError."""
    if not (rows := _select("id", run_id)):
        raise RunNotFoundError(f"There is no run {run_id}.", run_id=run_id)
    return as_run(rows[0])


def runs(
    *, status: str | None = None, graph: str | None = None, thread_id: str | None = None, limit: int = 50
) -> list[Run]:
    """The newest runs, newest first."""
    wanted = {"status": status, "graph": graph, "thread_id": thread_id}
    rows = RunRow.objects.using(alias()).filter(**{k: v for k, v in wanted.items() if v is not None})
    return [as_run(dict(row)) for row in rows.order_by("-id").values()[:limit]]


def steps(run_id: RunId) -> list[StepRecord]:
    """The run's timeline, oldest first."""
    rows = Step.objects.using(alias()).filter(run_id=run_id).order_by("started_at", "id")
    return [
        StepRecord(
            run_id=row.run_id,
            delivery=row.delivery,
            step=row.step,
            node=row.node,
            task_id=row.task_id,
            namespace=row.namespace,
            owner=row.owner,
            started_at=row.started_at,
            finished_at=row.finished_at,
            outcome=row.outcome,
        )
        for row in rows
    ]


def answer(run: Run, answers: tuple[str, bytes | None], *, to: Collection[str]) -> Run | None:
    """Queue an interrupted run with its answers; None if it no longer asks what ``run`` shows (P13).

    ``to`` are the ids of the questions that they answer: those are not open any more.
    """
    parameters = {
        "id": run.id,
        "answers_type": answers[0],
        "answers": answers[1],
        "questions": Jsonb([question_row(question) for question in run.questions]),
        "marked": Jsonb([question_row(question, given=question.id in to) for question in run.questions]),
    }
    row = first(retried(lambda: execute("run_answer", parameters)))
    return as_run(row) if row else None


def requeue_updated(run: Run) -> Run | None:
    """Queue an interrupted run whose thread's state was just written; None if it is not what ``run`` shows."""
    questions = Jsonb([question_row(question) for question in run.questions])
    row = first(execute("run_requeue_updated", {"id": run.id, "questions": questions}))
    return as_run(row) if row else None


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
    """Status, and the later run that has entered the thread, if there is one."""
    return first(execute("run_retry_obstacle", {"id": run_id}))


def request_cancel(run_id: RunId, *, rollback: bool, reason: str) -> bool:
    """Ask for the run's end; False if it has ended, or never was."""
    parameters = {"id": run_id, "rollback": rollback, "reason": reason}
    return bool(retried(lambda: execute("run_request_cancel", parameters)))
