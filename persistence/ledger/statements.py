"""How the ledger speaks to the database: named statements, on one of two connections.

In a web process, a command or a test a statement runs on Django's connection of the calling thread, inside
its transaction if it has one. While a worker attends to a bell (``pooled``), it runs in autocommit on the
pool that the saver uses, prepared and on no connection more. Nothing here knows what a run is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Final, TypeVar

import psycopg
from django.db import DatabaseError, InterfaceError, connections, transaction
from psycopg.rows import dict_row

from holdfast.conf import settings
from holdfast.errors import OutageError
from holdfast.persistence.connections import Patience, Statement, is_passing, pool, run_together
from holdfast.persistence.ledger.rows import Row
from holdfast.persistence.sql import query

logger = logging.getLogger("holdfast.ledger")

T = TypeVar("T")

DATABASE_ERRORS: Final = (DatabaseError, InterfaceError, psycopg.Error)
"""What a statement can raise, on either connection."""

_on_pool: ContextVar[bool] = ContextVar("holdfast_ledger_on_pool", default=False)
_answers_again: ContextVar[Callable[[], bool]] = ContextVar(
    "holdfast_ledger_answers_again", default=lambda: False
)


def alias() -> str:
    """The database that holds the runs."""
    return settings().DATABASE


@contextmanager
def pooled() -> Iterator[None]:
    """Statements inside run on the worker's pool, unless the caller has a transaction open."""
    reset = _on_pool.set(not connections[alias()].in_atomic_block)
    try:
        yield
    finally:
        _on_pool.reset(reset)


@contextmanager
def outlasting(answers_again: Callable[[], bool]) -> Iterator[None]:
    """Statements inside that are repeated over a lost connection are not given up after a lease.

    Then ``answers_again`` waits for the outage's end, and says whether to go on.
    """
    reset = _answers_again.set(answers_again)
    try:
        yield
    finally:
        _answers_again.reset(reset)


@contextmanager
def in_transaction() -> Iterator[None]:
    """Statements inside run on Django's connection, in a transaction that others may write in too."""
    reset = _on_pool.set(False)
    try:
        with transaction.atomic(using=alias()):
            yield
    finally:
        _on_pool.reset(reset)


def savepoint() -> AbstractContextManager[None]:
    """Keeps the caller's transaction usable after a refused statement, where there is one."""
    return nullcontext() if _on_pool.get() else transaction.atomic(using=alias())


def execute(name: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
    """Run the named statement once; its rows as dicts. Raises one of DATABASE_ERRORS.

    ``busy_seconds``, which says when a bell that is stamped now is due again (R16), any statement may name.
    """
    parameters = _completed(parameters)
    if _on_pool.get():
        with pool(alias()).connection() as connection:
            try:
                cursor = psycopg.Cursor(connection, row_factory=dict_row).execute(query(name), parameters)
                return cursor.fetchall() if cursor.description else []
            except psycopg.Error as error:
                if is_passing(error):
                    connection.close()
                raise
    with connections[alias()].cursor() as django_cursor:
        django_cursor.execute(query(name), parameters)
        if django_cursor.description is None:
            return []
        names = [column.name for column in django_cursor.description]
        return [dict(zip(names, row, strict=True)) for row in django_cursor.fetchall()]


def statement(name: str, parameters: Mapping[str, Any]) -> Statement:
    """The named statement, to be run together with others on Django's connection."""
    return Statement(query(name), _completed(parameters))


def execute_direct(name: str, parameters: Mapping[str, Any]) -> list[Row]:
    """As ``execute``, and prepared on Django's connection too. For what is run often and names its columns."""
    if _on_pool.get():
        return execute(name, parameters)
    return run_together(alias(), statement(name, parameters))[0]


def _completed(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"busy_seconds": settings().BELL_BUSY, **(parameters or {})}


def retried(statement: Callable[[], T]) -> T:
    """Repeat over a lost connection, for up to a lease, or ``outlasting`` (R3). Only for what may be repeated.

    Inside somebody's transaction nothing is repeated: the transaction is lost with its connection. Raises
    OutageError when the time is over.
    """
    patience = Patience()
    while True:
        try:
            return statement()
        except DATABASE_ERRORS as error:
            connection = connections[alias()]
            if connection.in_atomic_block or not is_lost(error):
                raise
            logger.warning("database connection lost (%s); trying again", str(error).strip())
            pool(alias()).drop_idle()
            connection.close()  # also of a pooled statement: a settle with receivers runs on Django's
            if not patience.wait():
                if _answers_again.get()():
                    patience = Patience()
                    continue
                raise OutageError(
                    f"The database {alias()!r} did not answer for {patience.seconds:g} s: {str(error).strip()}",
                    alias=alias(),
                ) from error


def is_lost(error: BaseException) -> bool:
    """Whether the error is the connection's or the server's, so that another attempt may succeed."""
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    return cause is not None and is_passing(cause)


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's code of the error, whichever library raised it."""
    return getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None)
