"""The life of a run, and the only writer of its status.

    enqueue ──▶ queued ──claim──▶ running ──settle──▶ succeeded | failed | cancelled
                  ▲                 │  │                              │
                  │◀── hand over ───┘  └──settle──▶ interrupted       │
                  │◀── lease lost (sweep)                │            │
                  │◀────────────── answer ───────────────┘            │
                  └◀───────────────────── retry ──────────────────────┘

Each arrow is one statement of queries.sql, whose WHERE demands the state that it leads out of; no row
means that somebody else was first, and is told as None or as a typed error, never repaired. Nothing
here reads a state, decides, and writes. Every statement names the alias; none opens a connection of
its own. Whoever gets rows back rings for them, after the commit: nothing here sends a message.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db import IntegrityError, InterfaceError, OperationalError, connections, transaction
from psycopg.types.json import Jsonb

from holdfast import faults
from holdfast.conf import settings
from holdfast.errors import LeaseLostError, RunNotFoundError, ThreadBusyError
from holdfast.persistence.ids import RunId, ThreadId, Token
from holdfast.persistence.models.runs import RunStatus
from holdfast.persistence.records import Beat, Bell, Claim, NewRun, Question, Run, Session, StepRecord, Typed
from holdfast.persistence.sql import query

logger = logging.getLogger("holdfast.ledger")

Row = dict[str, Any]
T = TypeVar("T")

SWEEP_LOCK = 0x484F4C44  # "HOLD": the advisory lock of the sweep
BELLS_A_SWEEP = 200


def alias() -> str:
    """The database that holds the runs."""
    return settings().DATABASE


def execute(name: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
    """Run a named statement on Django's connection of the alias; its rows as dicts."""
    with connections[alias()].cursor() as cursor:
        cursor.execute(query(name), parameters or {})
        if cursor.description is None:
            return []
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def retried(statement: Callable[[], T]) -> T:
    """Repeat over a lost connection, for up to a lease (R3). Only for what may be repeated.

    Inside somebody's transaction nothing is repeated: the transaction is lost with its connection.
    """
    connection = connections[alias()]
    give_up = time.monotonic() + settings().LEASE
    pause = 0.05
    while True:
        try:
            return statement()
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or not _connection_lost(error) or time.monotonic() > give_up:
                raise
            logger.warning("database connection lost (%s); trying again", error)
            connection.close()
            time.sleep(pause)  # the server may be restarting; there is no event to wait for
            pause = min(pause * 2, 1.0)


def _connection_lost(error: Exception) -> bool:
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None)
    return isinstance(error, InterfaceError) or state is None or state[:2] in {"08", "57"}


# ── making and reading ──────────────────────────────────────────────────────────────────────────────


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
            return Inserted(_run(earlier), earlier["request_hash"], False)
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
    return Inserted(_run(rows[0]), new.request_hash, True)


def _by_key(key: str) -> Row | None:
    return _first(_select("idempotency_key", key))


def _unfinished(thread_id: ThreadId) -> UUID | None:
    from holdfast.persistence.models import RunRow

    unfinished = [RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.INTERRUPTED]
    rows = RunRow.objects.using(alias()).filter(thread_id=thread_id, status__in=unfinished)
    return rows.order_by("created_at").values_list("id", flat=True).first()


def _select(column: str, value: Any) -> list[Row]:
    from holdfast.persistence.models import RunRow

    return list(RunRow.objects.using(alias()).filter(**{column: value}).values())


def _first(rows: list[Row]) -> Row | None:
    return rows[0] if rows else None


def get(run_id: RunId) -> Run:
    """Read a run. Raises RunNotFoundError."""
    if not (rows := _select("id", run_id)):
        raise RunNotFoundError(f"There is no run {run_id}.", run_id=run_id)
    return _run(rows[0])


def runs(
    *, status: str | None = None, graph: str | None = None, thread_id: str | None = None, limit: int = 50
) -> list[Run]:
    """The newest runs, newest first."""
    from holdfast.persistence.models import RunRow

    wanted = {"status": status, "graph": graph, "thread_id": thread_id}
    rows = RunRow.objects.using(alias()).filter(**{k: v for k, v in wanted.items() if v is not None})
    return [_run(row) for row in rows.order_by("-id").values()[:limit]]


# ── claim, beat, settle ─────────────────────────────────────────────────────────────────────────────


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
        "known": [f"{name}@{version}" for name, version in known],
    }

    def take() -> list[Row]:
        with transaction.atomic(using=alias()):
            with connections[alias()].cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{int(settings().LOCK_TIMEOUT * 1000)}ms'")
            return execute("run_claim", parameters)

    try:
        rows = retried(take)
    except IntegrityError:  # another run of the thread was claimed at the same moment (R4)
        return None
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) == "55P03":  # lock_not_available: R11
            return None
        raise
    faults.point("claim-after-commit")
    if not (row := _first(rows)):
        return None
    return Claim(
        run=_run(row),
        token=token,
        entered=row["entered"],
        config=_json(row["config"]),
        context=Typed(type=row["context_type"], data=_bytes(row["context"])),
        answers=Typed(type=row["answers_type"], data=_bytes(row["answers"])) if row["answers_type"] else None,
    )


def wants_solitude(run_id: RunId) -> bool:
    """Whether only R12 kept the run from being claimed."""
    row = _first(execute("run_wants_solitude", {"id": run_id}))
    return bool(row and row["alone"])


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
    inside: Callable[[Run], None] | None = None,
) -> Run:
    """End the attempt. ``inside`` is called in the same transaction. Raises LeaseLostError (P2)."""
    parameters = {
        "id": claim.run.id,
        "token": claim.token,
        "status": str(status),
        "ended": status.ended,
        "result_type": result[0] if result else None,
        "result": result[1] if result else None,
        "error": Jsonb(error) if error else None,
        "questions": Jsonb([_question_row(question) for question in questions]) if questions else None,
    }
    return _end("run_settle", claim, parameters, inside)


def hand_over(claim: Claim, inside: Callable[[Run], None] | None = None) -> Run:
    """Give the run back at a step boundary (R13). Raises LeaseLostError (P2)."""
    faults.point("handover-before-commit")
    run = _end("run_hand_over", claim, {"id": claim.run.id, "token": claim.token}, inside)
    faults.point("handover-after-commit")
    return run


def revoke(claim: Claim, *, rollback: bool) -> Run:
    """Cancel a run under its executor, which did not stop by itself (R14). Raises LeaseLostError (P2)."""
    parameters = {"id": claim.run.id, "token": claim.token, "rollback": rollback}
    return _end("run_revoke", claim, parameters, None)


def _end(
    statement: str, claim: Claim, parameters: Mapping[str, Any], inside: Callable[[Run], None] | None
) -> Run:
    attempts = 0

    def end() -> Row | None:
        nonlocal attempts
        attempts += 1
        if attempts > 1 and (row := _first(execute("run_settled_by", parameters))):
            return row  # the commit that got no answer had happened (R3)
        faults.point("settle-before-commit")
        with transaction.atomic(using=alias()):
            row = _first(execute(statement, parameters))
            if row is not None and inside is not None:
                inside(_run(row))
            faults.point("settle-in-transaction")
        return row

    row = retried(end)
    faults.point("settle-after-commit")
    if row is None:
        raise LeaseLostError(
            f"Run {claim.run.id} belongs to another attempt by now; this one wrote nothing.",
            run_id=claim.run.id,
        )
    return _run(row)


def freed_thread(thread_id: ThreadId) -> list[Bell]:
    """The bell of the run that an ended one's thread is claimable for now (R4, R15)."""
    return _bells(retried(lambda: execute("run_next_of_thread", {"thread_id": thread_id})))


# ── what people ask for ─────────────────────────────────────────────────────────────────────────────


def answer(run: Run, answers: tuple[str, bytes | None]) -> Run | None:
    """Queue an interrupted run with its answers; None if it no longer asks what ``run`` shows (P13)."""
    parameters = {
        "id": run.id,
        "answers_type": answers[0],
        "answers": answers[1],
        "questions": Jsonb([_question_row(question) for question in run.questions]),
    }
    row = _first(retried(lambda: execute("run_answer", parameters)))
    return _run(row) if row else None


def retry(run_id: RunId) -> Run | None:
    """Queue a failed or cancelled run again; None if R5 refuses: ``retry_obstacle`` says why."""
    try:
        row = _first(retried(lambda: execute("run_retry", {"id": run_id})))
    except IntegrityError:  # another run holds the thread
        return None
    return _run(row) if row else None


def retry_obstacle(run_id: RunId) -> Row | None:
    """Status, and the later run that has entered the thread, if there is one."""
    return _first(execute("run_retry_obstacle", {"id": run_id}))


def request_cancel(run_id: RunId, *, rollback: bool, reason: str) -> bool:
    """Ask for the run's end; False if it has ended, or never was."""
    parameters = {"id": run_id, "rollback": rollback, "reason": reason}
    return bool(retried(lambda: execute("run_request_cancel", parameters)))


# ── the sweep (R10): every statement picks its rows with SKIP LOCKED, none holds a transaction open ──


def apply_cancels() -> list[Run]:
    """End the runs that nobody executes and somebody wants ended (R14)."""
    return [_run(row) for row in execute("run_apply_cancels")]


def drop_stale_requests() -> None:
    """Forget requests for runs that ended by themselves."""
    execute("run_drop_stale_requests")


def roll_back() -> list[ThreadId]:
    """Delete what cancelled runs wrote that wanted a rollback, then free their threads (R14)."""
    freed = []
    for row in execute("run_rollbacks"):
        with transaction.atomic(using=alias()):
            if not execute("run_lock_thread_alone", row):
                continue
            execute("run_rollback_checkpoints", row)
            execute("run_rollback_blobs", row)
            if execute("run_free_thread", row):
                freed.append(ThreadId(row["thread_id"]))
    return freed


class Lost(NamedTuple):
    """A lease that the sweep ended: the run as it is now, and who had it."""

    run: Run
    owner: str
    bell: Bell


def sweep_lost() -> list[Lost]:
    """End lost leases (R9, R12); those that may be executed again have been stamped for a bell."""
    execute("run_mark_incarnation")
    conf = settings()
    parameters = {"lock": SWEEP_LOCK, "lease": conf.LEASE, "gone": conf.SESSION_GONE}
    rows = execute("run_sweep_lost", parameters)
    faults.point("sweep-after-commit")
    return [Lost(_run(row), row["lost_owner"], _bell(row)) for row in rows]


def sweep_deadlines() -> list[Run]:
    """Fail what is past its deadline (R8)."""
    return [_run(row) for row in execute("run_sweep_deadlines")]


def bells(*, queues: Sequence[str], default_queue: str, idle: bool) -> list[Bell]:
    """Stamp and return the bells that are due or taken for lost (R15, R16)."""
    conf = settings()
    parameters = {
        "queues": list(queues),
        "default_queue": default_queue,
        "idle": idle,
        "idle_seconds": conf.BELL_IDLE,
        "busy_seconds": conf.BELL_BUSY,
        "max_seconds": conf.BELL_MAX,
        "most": BELLS_A_SWEEP,
    }
    return _bells(execute("run_bells", parameters))


# ── questions (R7) ──────────────────────────────────────────────────────────────────────────────────


def questions_held(thread_id: ThreadId) -> list[Row]:
    """The interrupts on the newest checkpoint of each namespace, deepest first, with their tasks' answers."""
    return retried(lambda: execute("run_questions_held", {"thread_id": thread_id}))


def answer_states(thread_id: ThreadId, questions: Sequence[Question]) -> list[Row]:
    """Where each question stands now: ``newest``, and its task's answers so far (``type``, ``blob``)."""
    parameters = {
        "thread_id": thread_id,
        "namespaces": [question.namespace for question in questions],
        "checkpoints": [question.checkpoint_id for question in questions],
        "tasks": [question.task_id for question in questions],
    }
    rows = retried(lambda: execute("run_answer_states", parameters))
    return sorted(rows, key=lambda row: int(row["position"]))


# ── threads ─────────────────────────────────────────────────────────────────────────────────────────


def lock_thread(thread_id: ThreadId) -> bool:
    """Hold the thread alone until the caller's transaction ends; False if there is none of that name."""
    return bool(execute("thread_lock", {"thread_id": thread_id}))


def graph_of(thread_id: ThreadId) -> tuple[str, str] | None:
    """Name and version of the graph that the thread belongs to."""
    row = _first(execute("thread_graph", {"thread_id": thread_id}))
    return (row["graph"], row["version"]) if row else None


def holder(thread_id: ThreadId) -> Run | None:
    """The run that holds the thread (R4)."""
    row = _first(execute("thread_holder", {"thread_id": thread_id}))
    return _run(row) if row else None


def update_obstacle(thread_id: ThreadId, run_id: RunId) -> str | None:
    """What a state update through an interrupted run would make happen again (R5); None: nothing."""
    row = _first(execute("thread_update_obstacle", {"thread_id": thread_id, "run_id": run_id}))
    return str(row["what"]) if row else None


def fork_thread(thread_id: ThreadId, checkpoint_id: str, target: ThreadId) -> int:
    """Copy a checkpoint and its past to a new thread; how many checkpoints were copied."""
    parameters = {"thread_id": thread_id, "checkpoint_id": checkpoint_id, "target": target}
    return int(execute("thread_fork", parameters)[0]["count"])


# ── the timeline ────────────────────────────────────────────────────────────────────────────────────


def record_steps(claim: Claim, lines: Sequence[StepRecord]) -> bool:
    """Write lines of the timeline under the fence; False if the lease is lost (P2)."""
    if not lines:
        return True
    parameters = {
        "run_id": claim.run.id,
        "token": claim.token,
        "delivery": claim.run.deliveries,
        "owner": lines[0].owner,
        "steps": [line.step for line in lines],
        "nodes": [line.node for line in lines],
        "task_ids": [line.task_id for line in lines],
        "namespaces": [line.namespace for line in lines],
        "started": [line.started_at for line in lines],
        "finished": [line.finished_at for line in lines],
        "outcomes": [line.outcome for line in lines],
    }
    return bool(execute("step_record", parameters)[0]["count"])


def steps(run_id: RunId) -> list[StepRecord]:
    """The run's timeline, oldest first."""
    from holdfast.persistence.models import Step

    rows = Step.objects.using(alias()).filter(run_id=run_id).order_by("started_at", "id").values()
    return [StepRecord(**{k: v for k, v in row.items() if k != "id"}) for row in rows]


# ── rows and records ────────────────────────────────────────────────────────────────────────────────


def _bytes(data: memoryview | bytes | None) -> bytes | None:
    return None if data is None else bytes(data)


def _run(row: Row) -> Run:
    return Run(
        **{name: row[name] for name in ("id", "graph", "version", "thread_id", "queue", "priority")},
        **{name: row[name] for name in ("idempotency_key", "created_at", "not_before", "deadline")},
        **{name: row[name] for name in ("started_at", "finished_at", "deliveries", "crashes", "owner")},
        status=RunStatus(row["status"]),
        metadata=_json(row["metadata"]),
        error=_json(row["error"]),
        questions=tuple(Question(**question) for question in _json(row["questions"]) or ()),
        stored_input=Typed(type=row["input_type"], data=_bytes(row["input"])),
        stored_result=Typed(type=row["result_type"], data=_bytes(row["result"]))
        if row["result_type"]
        else None,
    )


def _question_row(question: Question) -> Row:
    return {name: getattr(question, name) for name in Question.__dataclass_fields__}


def _json(value: Any) -> Any:
    # Django's connection hands jsonb over as text, the ORM's values() decoded.
    import json

    return json.loads(value) if isinstance(value, str | bytes) else value


def _bell(row: Row, *, recovery: bool = True) -> Bell:
    return Bell(
        run_id=row["id"],
        thread_id=row["thread_id"],
        graph=row["graph"],
        delivery=row["deliveries"] + 1,
        queue=row["queue"],
        priority=row["priority"],
        recovery=recovery,
    )


def bell(run: Run) -> Bell:
    """The bell of a run that is claimable; one that was claimed before goes ahead of the backlog (R15)."""
    return Bell(
        run_id=run.id,
        thread_id=run.thread_id,
        graph=run.graph,
        delivery=run.deliveries + 1,
        queue=run.queue,
        priority=run.priority,
        recovery=run.deliveries > 0,
    )


def _bells(rows: list[Row]) -> list[Bell]:
    return [_bell(row, recovery=row["deliveries"] > 0) for row in rows]


@contextmanager
def statement_cursor() -> Iterator[Any]:
    """A cursor on Django's connection of the alias, for the heartbeat's own session query (R9)."""
    with connections[alias()].cursor() as cursor:
        yield cursor
