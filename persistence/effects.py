"""The ledger of side effects: what was announced, what is done, what nobody can know (P4, R19).

Each function is one statement on ``holdfast_effect`` under the fence of the attempt (R2); it is
repeated on connection errors, and is written so that a repetition after a commit of unknown outcome
changes nothing (R3). Nothing here runs a body or asks a person: that is ``holdfast.runner.effects``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, LiteralString, Protocol
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from holdfast.errors import EffectMismatchError
from holdfast.persistence.connections import Connection, retrying
from holdfast.persistence.encryption import bindings
from holdfast.persistence.encryption.inline import seal_text, shown_text
from holdfast.persistence.fence import Fence
from holdfast.persistence.sql import query

Kind = Literal["keyed", "transactional", "at_most_once"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call of an effect, as the ledger names it."""

    key: str
    """64 hexadecimal digits, the same at every attempt; see ``key_of``."""
    thread_id: str
    task_id: str
    """The LangGraph task that made the call, or the key of the effect whose body made it."""
    function: str
    call: int
    """0 for the first call of this function in that task, 1 for the second, …"""
    kind: Kind
    arguments_hash: str
    arguments: str
    """Names and types of the arguments; never their values, which may be secrets."""

    def __str__(self) -> str:
        return f"call {self.call} of {self.function}({self.arguments})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A row of the ledger."""

    key: str
    task_id: str
    function: str
    call: int
    kind: Kind
    arguments_hash: str
    arguments: str
    state: Literal["begun", "done", "in_doubt"]
    attempts: int
    """How often the body has been begun."""
    answers: int
    """How many answers of a person to its doubt have been used."""
    error: str
    """Why it is in doubt, as it is stored; empty otherwise."""
    result_type: str | None
    result: bytes | None
    token: UUID

    @property
    def doubt(self) -> str:
        """Why it is in doubt; where that is encrypted and does not open, a remark that says so."""
        return shown_text(self.error, bindings.effect("error", self.key))

    def check(self, call: Call) -> None:
        """Raise EffectMismatchError unless the recorded call is this one (R19)."""
        if self.arguments_hash == call.arguments_hash and self.kind == call.kind:
            return
        recorded = f"call {self.call} of {self.function}({self.arguments}), {self.kind}"
        called = f"{call}, {call.kind}"
        raise EffectMismatchError(
            f"The effect recorded as {recorded} was reached again as {called}, with other arguments. A body that "
            "is executed again must call its effects with equal arguments: take what changes (the time, random "
            "numbers, answers of services) from a task of its own, whose result is stored.",
            function=call.function,
            recorded=recorded,
            called=called,
            key=call.key,
        )


class Cursor(Protocol):
    """What Django's cursors and psycopg's have in common."""

    def execute(self, sql: Any, params: Any = None) -> Any: ...
    def fetchone(self) -> Any: ...


def key_of(scope: object, task_id: str, function: str, call: int) -> str:
    """The idempotency key: SHA-256 over run id (outside a run: thread id), task, function and call order."""
    parts = "\x1f".join((str(scope), task_id, function, str(call)))
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def find(alias: str, key: str) -> Record | None:
    """What the ledger says about the effect; None: nothing. Raises DatabaseUnreachableError."""

    def work(connection: Connection) -> Record | None:
        with connection.cursor(row_factory=class_row(Record)) as cursor:
            return cursor.execute(query("effect_find"), {"key": key}).fetchone()

    return retrying(alias, work)


def begin(alias: str, fence: Fence, call: Call) -> Record | int:
    """Announce the effect. Returns the number of this attempt (1: the first), or the row that forbids it.

    A keyed effect that was begun is begun again; whatever else is there is returned, after its
    arguments have been compared. Raises EffectMismatchError, LeaseLostError, DatabaseUnreachableError.
    """
    tries = 0

    def work(connection: Connection) -> tuple[int, bool, int | None]:
        nonlocal tries
        tries += 1
        row = connection.execute(query("effect_begin"), {**fence.params, **asdict(call)}).fetchone()
        assert row is not None
        return row[0], row[1], row[2]

    holders, began, attempts = retrying(alias, work)
    fence.check(holders)
    if began and attempts is not None:
        return attempts
    record = find(alias, call.key)
    if record is None:  # only a deletion by hand comes between the two statements
        return begin(alias, fence, call)
    record.check(call)
    ours = record.state == "begun" and record.attempts == 1 and record.token == fence.token
    if tries > 1 and ours:
        return 1  # R3: our own announcement was committed when the connection broke
    return record


def finish(
    alias: str, fence: Fence, key: str, result_type: str, result: bytes | None, answers: int = 0
) -> None:
    """Record the result. Raises LeaseLostError, DatabaseUnreachableError."""
    params = {"key": key, "result_type": result_type, "result": result, "answers": answers}
    _fenced(alias, fence, query("effect_finish"), params)
    fence.progressed = True


def doubt(alias: str, fence: Fence, key: str, error: str, answers: int = 0) -> None:
    """Record that nobody knows whether the effect happened. Raises LeaseLostError, DatabaseUnreachableError."""
    stored = seal_text(error, bindings.effect("error", key))
    _fenced(alias, fence, query("effect_doubt"), {"key": key, "error": stored, "answers": answers})


def begin_again(alias: str, fence: Fence, key: str, attempts: int, answers: int = 0) -> int:
    """Announce the next attempt of an effect that is known not to have happened; returns its number.

    ``attempts`` is the number of attempts so far. Raises LeaseLostError, DatabaseUnreachableError.
    """
    params = {"key": key, "attempts": attempts, "answers": answers}
    _fenced(alias, fence, query("effect_begin_again"), params)
    return attempts + 1


def open_transaction(cursor: Cursor, idle: float) -> None:
    """Make the transaction just begun fit for the fence; ``idle`` is its longest pause, in seconds (R11)."""
    cursor.execute(query("effect_isolation"))
    cursor.execute(query("effect_idle_limit"), {"idle": f"{int(idle * 1000)}ms"})


def record_in_transaction(
    cursor: Cursor, fence: Fence, call: Call, result_type: str, result: bytes | None
) -> bool:
    """The last statement of a transactional effect. False: it is recorded already, so roll back.

    Raises LeaseLostError, which must roll back too.
    """
    data = None if result is None else psycopg.Binary(result)
    cursor.execute(
        query("effect_record"), {**fence.params, **asdict(call), "result_type": result_type, "result": data}
    )
    holders, recorded = cursor.fetchone()
    fence.check(holders)
    return bool(recorded)


def _fenced(alias: str, fence: Fence, statement: LiteralString, params: Mapping[str, object]) -> None:
    def work(connection: Connection) -> int:
        row = connection.execute(statement, {**fence.params, **params}).fetchone()
        assert row is not None
        return int(row[0])

    fence.check(retrying(alias, work))
