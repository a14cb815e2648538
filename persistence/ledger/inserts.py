"""New runs: one, or many in one statement, in the caller's transaction or as a transaction of their own.

Nothing here rings; what is to be sent along with a lone run comes as statements that nothing is known of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connections
from psycopg.types.json import Jsonb

from holdfast.errors import ThreadBusyError
from holdfast.persistence.connections import Statement, run_in_savepoint, run_together
from holdfast.persistence.encryption.salted import opened_config, salted
from holdfast.persistence.ids import ThreadId
from holdfast.persistence.ledger.rows import Row, as_json, as_new_run, as_run
from holdfast.persistence.ledger.statements import alias, execute, execute_direct, statement
from holdfast.persistence.models.runs import RunRow, RunStatus
from holdfast.persistence.records import NewRun, Run

MOST_RUNS: Final = 1000
"""Runs in one statement."""
MOST_BYTES: Final = 8 * 1024 * 1024
"""Stored input and context in one statement, from which on no further run is added to it."""


class Inserted(NamedTuple):
    """What ``insert`` did: ``created`` is False when the idempotency key had made the run before."""

    run: Run
    same: bool
    """Whether the run that is there was requested in the same way."""
    created: bool


def stands_alone(new: NewRun) -> bool:
    """Whether inserting it depends on no other run: no key that may be taken, no strategy that looks."""
    return new.idempotency_key is None and new.multitask_strategy == "enqueue"


def insert_alone(new: NewRun, along: Sequence[Statement] = ()) -> Run | None:
    """Insert a run that ``stands_alone``, and what is to go along with it, in one round trip, all or none.

    In the caller's transaction, which an error leaves as it was; without one it is committed. None, and
    what went along is of no use, when retention deleted its thread at that very moment.
    """
    run = run_in_savepoint if connections[alias()].in_atomic_block else run_together
    rows, *_ = run(alias(), statement("run_insert", _parameters(new)), *along)
    return as_new_run(new, rows[0]) if rows else None


def insert(new: Sequence[NewRun]) -> list[Inserted]:
    """Insert the runs in the caller's transaction, in their order.

    Raises ThreadBusyError under the strategy ``reject``, DecryptionError where an idempotency key made a run
    whose secret does not open.
    """
    inserted: list[Inserted] = []
    for batch in _batches(new):
        inserted += _many(batch) if len(batch) > 1 else [_one(batch[0])]
    return inserted


def _batches(new: Sequence[NewRun]) -> Iterator[list[NewRun]]:
    """Neighbours that may be inserted by one statement; a strategy looks at what was inserted before."""
    for strategy, neighbours in groupby(new, key=lambda each: each.multitask_strategy):
        batch: list[NewRun] = []
        size = 0
        for each in neighbours:
            batch.append(each)
            size += len(each.input[1] or b"") + len(each.context[1] or b"")
            if strategy != "enqueue" or len(batch) == MOST_RUNS or size >= MOST_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def _one(new: NewRun) -> Inserted:
    if new.multitask_strategy != "enqueue":
        execute("run_lock_thread", {"thread_id": new.thread_id})
    parameters = _parameters(new)
    while True:  # at most twice in practice: retention deleted the thread between the two looks
        if rows := execute_direct("run_insert", parameters):
            break
        if earlier := _earlier([new]).get(new.idempotency_key):
            return _found(new, earlier)
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
    return Inserted(as_new_run(new, rows[0]), True, True)


def _many(new: list[NewRun]) -> list[Inserted]:
    found: dict[UUID, Inserted] = {}
    while waiting := [each for each in new if each.id not in found]:  # as above: at most twice
        rows = {
            row["id"]: row
            for row in execute_direct("run_insert_many", {"runs": json.dumps([*map(_plain, waiting)])})
        }
        made = [each for each in waiting if each.id in rows]
        found |= {each.id: Inserted(as_new_run(each, rows[each.id]), True, True) for each in made}
        if len(found) < len(new):
            refused = [each for each in waiting if each.id not in rows]
            earlier = _earlier(refused)
            found |= {
                each.id: _found(each, earlier[each.idempotency_key])
                for each in refused
                if each.idempotency_key in earlier
            }
    return [found[each.id] for each in new]


def _earlier(refused: Sequence[NewRun]) -> dict[str | None, Row]:
    """By idempotency key, the rows of the runs that had been made for it before these."""
    keys = [each.idempotency_key for each in refused if each.idempotency_key is not None]
    rows = execute("run_of_keys", {"keys": keys}) if keys else []
    earlier: dict[str | None, Row] = {row["idempotency_key"]: row for row in rows}
    if earlier:
        # The statement has made the threads before it met the keys; one of our own naming nobody knows.
        threads = [each.thread_id for each in refused if each.idempotency_key in earlier]
        execute("thread_drop_each", {"thread_ids": threads})
    return earlier


def _found(new: NewRun, earlier: Row) -> Inserted:
    _, salt = opened_config(as_json(earlier["config"]), earlier["id"])
    return Inserted(as_run(earlier), salted(new.request_digest, salt) == earlier["request_hash"], False)


def _unfinished(thread_id: ThreadId) -> UUID | None:
    unfinished = [RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.INTERRUPTED]
    rows = RunRow.objects.using(alias()).filter(thread_id=thread_id, status__in=unfinished)
    return rows.order_by("created_at").values_list("id", flat=True).first()


_AS_THEY_ARE: Final = (
    *("thread_id", "graph", "version", "priority", "queue", "multitask_strategy", "idempotency_key"),
    *("request_hash", "delay", "deadline_delay", "max_crashes", "history"),
)


def _parameters(new: NewRun) -> Row:
    return {
        **{name: getattr(new, name) for name in _AS_THEY_ARE},
        "id": new.id,
        "input_type": new.input[0],
        "input": new.input[1],
        "context_type": new.context[0],
        "context": new.context[1],
        "config": Jsonb(new.config),
        "metadata": Jsonb(new.metadata),
        "due_at": new.due_at,
        "deadline_at": new.deadline_at,
    }


def _plain(new: NewRun) -> dict[str, Any]:
    """The same as JSON."""
    return {
        **{name: getattr(new, name) for name in _AS_THEY_ARE},
        "id": str(new.id),
        "input_type": new.input[0],
        "input": _text(new.input[1]),
        "context_type": new.context[0],
        "context": _text(new.context[1]),
        "config": new.config,
        "metadata": new.metadata,
        "due_at": new.due_at and new.due_at.isoformat(),
        "deadline_at": new.deadline_at and new.deadline_at.isoformat(),
    }


def _text(data: bytes | None) -> str | None:
    return None if data is None else rf"\x{data.hex()}"
