"""Outages: which errors pass by themselves, and how long and how often something is tried again (R3)."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import psycopg
from psycopg import errors as pg

from holdfast.conf import settings
from holdfast.errors import OutageError
from holdfast.persistence.connections.execution import aexecute
from holdfast.persistence.connections.opening import Connection
from holdfast.persistence.connections.pools import pool

logger = logging.getLogger("holdfast.connections")

T = TypeVar("T")

# The server is gone, going, not ready, full, without space, or no longer the primary: another attempt may succeed.
_PASSING_STATES = frozenset({"57P01", "57P02", "57P03", "57P05", "53300", "53100", "25006", "40P01", "40001"})
_STALE_PLAN = ("0A000", "cached plan")
"""A migration changed a table under a prepared statement: on a new connection it is planned anew."""
_IDLED = "25P03"
_IDLED_TEXT = "idle-in-transaction timeout"  # where libpq has only the server's words
_FIRST_PAUSE = 0.02  # seconds
_LONGEST_PAUSE = 0.5  # seconds


def is_passing(error: BaseException) -> bool:
    """Whether the error is the connection's or the server's, so that the statement may be repeated."""
    if isinstance(error, pg.InterfaceError):
        return True
    if not isinstance(error, psycopg.Error) or has_idled(error):
        return False
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    if state == _STALE_PLAN[0]:
        return _STALE_PLAN[1] in str(error)
    return state.startswith("08") or state in _PASSING_STATES


def has_idled(error: BaseException) -> bool:
    """Whether the server ended the session because its transaction idled (R11): repeated, it would idle again.

    Looks at what the error was raised from, too.
    """
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        if isinstance(each, psycopg.Error) and (each.sqlstate == _IDLED or _IDLED_TEXT in str(each)):
            return True
        seen.add(id(each))
        each = each.__cause__ or each.__context__
    return False


class Patience:
    """The pauses between the attempts at one thing, each longer than the last, for a limited time.

    The time begins with the first failure, not with the work, which may be long.
    """

    def __init__(self, seconds: float | None = None) -> None:
        """``seconds``: how long to go on after the first failure; by default LEASE."""
        self._seconds = seconds
        self._pause = _FIRST_PAUSE
        self._deadline: float | None = None

    @property
    def seconds(self) -> float:
        """How long it goes on."""
        return settings().LEASE if self._seconds is None else self._seconds

    def wait(self) -> bool:
        """Pause; False at once if the time is over."""
        if (pause := self._next()) is None:
            return False
        time.sleep(pause)  # no event tells of a server's return
        return True

    async def await_(self) -> bool:
        """As ``wait``, for an asyncio task."""
        if (pause := self._next()) is None:
            return False
        await asyncio.sleep(pause)  # as in wait
        return True

    def _next(self) -> float | None:
        now = time.monotonic()
        self._deadline = self._deadline or now + self.seconds
        if now + self._pause > self._deadline:
            return None
        pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE)
        return pause * random.uniform(0.7, 1.3)  # noqa: S311 - spreads retries, guards nothing


def retrying(alias: str, work: Callable[[Connection], T], *, seconds: float | None = None) -> T:
    """Do the work on a pooled connection; repeat it on connection errors for ``seconds`` (default: LEASE).

    The work must be safe to repeat after a commit whose outcome is not known (R3), as upserts are. On a
    lent connection nothing is repeated, as its transaction is lost with it. Raises
    OutageError when the time is over; other errors at once.
    """
    patience = Patience(seconds)
    while True:
        try:
            with pool(alias).connection() as connection, _dropping(alias, connection):
                return work(connection)
        except psycopg.Error as error:
            if not _may_repeat(alias, error) or not patience.wait():
                _give_up(alias, patience, error)


async def aexecuting(
    alias: str,
    statement: Any,
    params: Any = None,
    *,
    prepare: bool | None = None,
    binary: bool = True,
    seconds: float | None = None,
) -> psycopg.Cursor[Any]:
    """As ``retrying`` with one statement, from an asyncio task and without a thread; a cursor with all its rows."""
    patience = Patience(seconds)
    while True:
        try:
            if (lent := pool(alias).lent) is not None:
                # Threads share it, under a lock that a task must not wait for.
                return await aon_shared(lent, statement, params, prepare=prepare, binary=binary)
            async with pool(alias).aconnection() as connection:
                with _dropping(alias, connection):
                    return await aexecute(connection, statement, params, prepare=prepare, binary=binary)
        except psycopg.Error as error:
            if not _may_repeat(alias, error) or not await patience.await_():
                _give_up(alias, patience, error)


async def aon_shared(
    connection: Connection,
    statement: Any,
    params: Any = None,
    *,
    prepare: bool | None = None,
    binary: bool = True,
) -> psycopg.Cursor[Any]:
    """One statement on a connection that is not the pool's; threads share it, under a lock that no task may wait for."""
    cursor = psycopg.Cursor(connection)
    return await asyncio.to_thread(cursor.execute, statement, params, prepare=prepare, binary=binary)


@contextmanager
def _dropping(alias: str, connection: Connection) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        if is_passing(error) and pool(alias).lent is None:
            connection.close()
        raise


def _may_repeat(alias: str, error: psycopg.Error) -> bool:
    if not is_passing(error):
        raise error
    logger.warning("database %r: %s", alias, str(error).strip())
    pool(alias).drop_idle()
    return pool(alias).lent is None


def _give_up(alias: str, patience: Patience, error: psycopg.Error) -> NoReturn:
    raise OutageError(
        f"The database {alias!r} did not answer for {patience.seconds:g} s: {str(error).strip()}", alias=alias
    ) from error
