"""Rows of the ledger as the frozen records that cross rooms, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final
from uuid import UUID

from holdfast.errors import DecryptionError
from holdfast.persistence.encryption import bindings
from holdfast.persistence.encryption.inline import open_rest, seal_rest
from holdfast.persistence.models.runs import RunStatus
from holdfast.persistence.records import Bell, NewRun, Question, Run, Typed

Row = dict[str, Any]

_GIVEN = "given"
"""Marks a question of the row whose answer is on its way into the graph: it is open no more."""

_COLUMNS: Final = {"value": "stored"}
"""What is called otherwise in the row than in the record."""


def as_bytes(data: memoryview | bytes | None) -> bytes | None:
    return None if data is None else bytes(data)


def as_typed(row: Row, column: str) -> Typed:
    """The value of a column and its type column, which may have the types of the row's graph."""
    return Typed(
        type=row[f"{column}_type"],
        data=as_bytes(row[column]),
        graph=row["graph"],
        version=row["version"],
        binding=bindings.run(column, row["id"]),
    )


def as_run(row: Row) -> Run:
    return Run(
        **{name: row[name] for name in ("id", "graph", "version", "thread_id", "queue", "priority")},
        **{name: row[name] for name in ("idempotency_key", "created_at", "not_before", "deadline")},
        **{name: row[name] for name in ("started_at", "finished_at", "deliveries", "crashes", "owner")},
        status=RunStatus(row["status"]),
        metadata=as_json(row["metadata"]),
        error=shown_error(as_json(row["error"]), row["id"]),
        questions=tuple(
            question
            for question, given in _questions(row)
            if not given and not RunStatus(row["status"]).ended
        ),
        stored_input=as_typed(row, "input"),
        stored_result=as_typed(row, "result") if row["result_type"] else None,
    )


def as_new_run(new: NewRun, row: Row) -> Run:
    """The run that has just been inserted; the row tells what the database decided."""
    return Run(
        **{name: getattr(new, name) for name in ("id", "graph", "version", "thread_id", "queue", "priority")},
        **{name: row[name] for name in ("created_at", "not_before", "deadline")},
        idempotency_key=new.idempotency_key,
        started_at=None,
        finished_at=None,
        deliveries=0,
        crashes=0,
        owner=None,
        status=RunStatus.QUEUED,
        metadata=new.metadata,
        error=None,
        questions=(),
        stored_input=Typed(
            type=new.input[0],
            data=new.input[1],
            graph=new.graph,
            version=new.version,
            binding=bindings.run("input", new.id),
        ),
        stored_result=None,
    )


def as_asked(row: Row) -> tuple[Question, ...]:
    """All questions of the row, answered or not (R7)."""
    return tuple(question for question, _ in _questions(row))


def _questions(row: Row) -> list[tuple[Question, bool]]:
    """The questions of the row, each with whether it has been answered."""
    return [(_question(row["id"], asked), _GIVEN in asked) for asked in as_json(row["questions"]) or ()]


def _question(run_id: UUID, asked: Row) -> Question:
    parts = {_COLUMNS.get(name, name): value for name, value in asked.items() if name != _GIVEN}
    return Question(run_id=run_id, **parts)


def question_row(question: Question) -> Row:
    """The question as it stands in the row."""
    names = {field.name for field in fields(Question)} - {"run_id", *_COLUMNS.values()}
    return {name: getattr(question, name) for name in names} | {
        column: getattr(question, name) for column, name in _COLUMNS.items()
    }


def stored_error(error: Mapping[str, Any], run_id: object) -> dict[str, Any]:
    """Why a run failed, as it stands in its row: of what is encrypted only the type is readable."""
    return seal_rest(error, lambda name: name == "type", bindings.run("error", run_id))


def shown_error(error: Mapping[str, Any] | None, run_id: object) -> Mapping[str, Any] | None:
    """The same for people: where it cannot be opened, its message says why."""
    if not isinstance(error, Mapping):
        return error
    try:
        return open_rest(error, bindings.run("error", run_id))
    except DecryptionError as why:
        return {"type": error.get("type"), "message": f"({why.message})"}


def as_json(value: Any) -> Any:
    # Django's connection hands jsonb over as text, the ORM's values() decoded.
    return json.loads(value) if isinstance(value, str | bytes) else value


def as_bell(row: Row, *, recovery: bool = True) -> Bell:
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


def first_bell(new: NewRun) -> Bell:
    """The bell of a run that is going to be inserted, and claimable from then on."""
    return Bell(
        run_id=new.id,
        thread_id=new.thread_id,
        graph=new.graph,
        delivery=1,
        queue=new.queue,
        priority=new.priority,
        recovery=False,
    )


def as_bells(rows: list[Row]) -> list[Bell]:
    return [as_bell(row, recovery=row["deliveries"] > 0) for row in rows]


def first(rows: list[Row]) -> Row | None:
    return rows[0] if rows else None
