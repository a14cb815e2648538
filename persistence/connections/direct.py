"""Statements on Django's own connection of the calling thread: prepared, and several in one round trip.

A run is handed in from somebody's web process, which opens no connection for Holdfast. The two or three
statements that this takes go to the server together: in a transaction of the caller's as a part of it,
otherwise all or none of them. Django's query log, its execute wrappers and its errors stay in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, LiteralString, NamedTuple
from weakref import WeakKeyDictionary

import psycopg
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.rows import dict_row

from holdfast.persistence.sql import query

Row = dict[str, Any]

PREPARED_FROM = 1
"""Executions on one connection before a statement is prepared: for the only one it does not pay."""

# Whether statements may be prepared on a connection: it leads to a session of its own. Behind a pooler that
# shares sessions among clients a prepared statement would not be found again, or another client's would be.
_prepares: WeakKeyDictionary[psycopg.Connection[Any], bool] = WeakKeyDictionary()


class Statement(NamedTuple):
    """It names the columns that it returns: a prepared ``*`` breaks when a migration adds one."""

    sql: LiteralString
    parameters: Mapping[str, Any] | None = None


def run_together(alias: str, *statements: Statement) -> list[list[Row]]:
    """The rows of each statement. Raises Django's errors, and then none has changed anything."""
    wrapper = connections[alias]
    with wrapper.cursor():  # backends that change a role or a search path do that when a cursor is asked for
        pass
    raw: psycopg.Connection[Any] = wrapper.connection
    asking = _may_prepare(wrapper) and raw not in _prepares
    question = psycopg.Cursor(raw)
    cursors = [psycopg.Cursor(raw, row_factory=dict_row) for _ in statements]
    with _preparing(wrapper, raw), _at_once(wrapper, raw, len(statements) + asking):
        if asking:
            question.execute(query("session_pid"))
        for cursor, (sql, parameters) in zip(cursors, statements, strict=True):
            wrapped: Callable[[Any], CursorWrapper] = (
                wrapper.make_debug_cursor if wrapper.queries_logged else wrapper.make_cursor
            )
            wrapped(cursor).execute(sql, parameters)
    if asking:
        _prepares[raw] = question.fetchall()[0][0] == raw.info.backend_pid
    return [cursor.fetchall() if _has_rows(cursor) else [] for cursor in cursors]


def run_in_savepoint(alias: str, *statements: Statement) -> list[list[Row]]:
    """The same inside of a transaction, which after an error is as it was before."""
    try:
        _, *found, _ = run_together(
            alias,
            Statement(query("session_savepoint")),
            *statements,
            Statement(query("session_savepoint_release")),
        )
        return found
    except Exception:  # whatever it was, the transaction is the caller's to go on with
        raw = connections[alias].connection
        if raw is not None and raw.info.transaction_status == TransactionStatus.INERROR:
            undo = (
                Statement(query("session_savepoint_rollback")),
                Statement(query("session_savepoint_release")),
            )
            run_together(alias, *undo)
        raise


def _has_rows(cursor: psycopg.Cursor[Any]) -> bool:
    # ``description`` tells too, but describes each column first.
    return cursor.pgresult is not None and cursor.pgresult.status == ExecStatus.TUPLES_OK


@contextmanager
def _at_once(wrapper: BaseDatabaseWrapper, raw: psycopg.Connection[Any], number: int) -> Iterator[None]:
    if number == 1:
        yield
    elif psycopg.Pipeline.is_supported() and not wrapper.allow_thread_sharing:
        # In autocommit the server makes one transaction of all statements up to the pipeline's end.
        with wrapper.wrap_database_errors, raw.pipeline():
            yield
    else:  # e.g. on a connection that a test lends, where other threads' statements would get in between
        with transaction.atomic(using=wrapper.alias) if wrapper.get_autocommit() else nullcontext():
            yield


def _may_prepare(wrapper: BaseDatabaseWrapper) -> bool:
    """Whether the project leaves that to us, and has not said that a pooler shares the sessions."""
    settings = wrapper.settings_dict
    return not ("prepare_threshold" in settings["OPTIONS"] or settings.get("DISABLE_SERVER_SIDE_CURSORS"))


@contextmanager
def _preparing(wrapper: BaseDatabaseWrapper, raw: psycopg.Connection[Any]) -> Iterator[None]:
    """Django's own connection prepares nothing; for our statements it does."""
    if not (_may_prepare(wrapper) and _prepares.get(raw)):
        yield
        return
    usual, raw.prepare_threshold = raw.prepare_threshold, PREPARED_FROM
    try:
        yield
    except BaseException:  # psycopg counts as prepared what stood in the pipeline behind what failed
        _prepares[raw] = False
        raise
    finally:
        raw.prepare_threshold = usual
