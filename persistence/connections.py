"""Connections of the saver, ledger and effects beside Django's own: made from the alias's live settings.

A pool is opened at first use in each process, so after any fork; it has no threads of its own, and
a connection that cannot be made, or breaks, is the caller's error at once, so that ``retrying`` can
repeat the statement within milliseconds of the server's return instead of after a pool's back-off.
Never used for a user's own queries, and never shared with Django's connections, except where a test
lends one (``lending``).
"""

from __future__ import annotations

import logging
import os
import random
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import errors as pg
from psycopg.pq import TransactionStatus

from holdfast.conf import settings
from holdfast.errors import ConfigurationError, DatabaseUnreachableError
from holdfast.persistence import arrays
from holdfast.persistence.sql import query

logger = logging.getLogger("holdfast.connections")

T = TypeVar("T")
Connection = psycopg.Connection[Any]

# The server is gone, going, not ready, full, or no longer the primary: another attempt may succeed.
_PASSING_STATES = frozenset({"57P01", "57P02", "57P03", "57P05", "53300", "25006", "40P01", "40001"})
_IN_TRANSACTION = (TransactionStatus.INTRANS, TransactionStatus.INERROR)
_FIRST_PAUSE = 0.02  # seconds
_LONGEST_PAUSE = 0.5  # seconds


class _HasCursor(Protocol):
    def cursor(self) -> Any: ...


def conninfo(alias: str) -> dict[str, Any]:
    """psycopg's connect arguments for the alias as it is configured now (test databases included).

    Raises ConfigurationError when the alias is unknown or not PostgreSQL.
    """
    if alias not in connections:
        raise ConfigurationError(
            f'HOLDFAST["DATABASE"] is {alias!r}, and DATABASES has no such alias.', setting="DATABASE"
        )
    wrapper = connections[alias]
    if wrapper.vendor != "postgresql":
        raise ConfigurationError(
            f"The database {alias!r} is {wrapper.vendor}; Holdfast needs PostgreSQL.", setting="DATABASE"
        )
    params: dict[str, Any] = dict(wrapper.get_connection_params())
    for django_only in ("cursor_factory", "context", "prepare_threshold"):
        params.pop(django_only, None)
    options = wrapper.settings_dict["OPTIONS"]
    if "prepare_threshold" in options:
        params["prepare_threshold"] = options["prepare_threshold"]
    elif wrapper.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
        params["prepare_threshold"] = None  # how Django is told that a pooler shares the sessions
    else:
        params["prepare_threshold"] = 0
    lease = settings().LEASE
    params.setdefault("application_name", "holdfast")
    params.setdefault("connect_timeout", max(2, int(lease / 3)))
    params.setdefault("tcp_user_timeout", int(lease * 1000))
    return params


def connect(alias: str, **kw: Any) -> Connection:
    """One new autocommit connection with the limits of R11. Raises psycopg.OperationalError, ConfigurationError."""
    connection = psycopg.connect(**{**conninfo(alias), "autocommit": True, **kw})
    arrays.register(connection)
    role = connections[alias].settings_dict["OPTIONS"].get("assume_role")
    if role:
        connection.execute(query("saver_assume_role"), {"role": role})
    guard_session(connection)
    return connection


def guard_session(connection: _HasCursor) -> None:
    """Limit what a frozen process can hold (R11), and make READ COMMITTED the default (R2).

    Takes psycopg's and Django's connections. An open transaction that is rolled back undoes it.
    """
    limits = settings()
    with connection.cursor() as cursor:
        cursor.execute(
            query("saver_guard_session"),
            {
                "idle": f"{int(limits.IDLE_IN_TRANSACTION * 1000)}ms",
                "check": f"{int(limits.LEASE * 1000 / 3)}ms",
            },
        )


class Pool:
    """At most ``size`` connections of one alias in one process; each is used by one thread at a time."""

    def __init__(self, alias: str, size: int) -> None:
        self.alias = alias
        self.size = size
        self._places = threading.BoundedSemaphore(size)
        self._idle: list[Connection] = []
        self._lent: Connection | None = None
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection, waited for if all are in use. Raises psycopg.OperationalError.

        An open transaction is rolled back at the end; a broken connection is dropped.
        """
        if self._lent is not None:
            yield self._lent
            return
        with self._places:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = connect(self.alias)
            try:
                yield connection
            finally:
                self._put_back(connection)

    def _put_back(self, connection: Connection) -> None:
        if not connection.closed:
            status = connection.pgconn.transaction_status
            if status in _IN_TRANSACTION:
                try:
                    connection.rollback()
                except psycopg.Error:
                    connection.close()
            elif status != TransactionStatus.IDLE:  # left in the middle of a statement
                connection.close()
        if self._closed:
            connection.close()
        elif not connection.closed:
            self._idle.append(connection)

    def drop_idle(self) -> None:
        """Close the connections that nobody uses, e.g. because the server was restarted."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close all; those in use when they are returned."""
        self._closed = True
        self.drop_idle()


_lock = threading.Lock()
_pools: dict[str, tuple[tuple[Any, ...], Pool]] = {}
_owner = os.getpid()
# Pools of the parent process. They are kept, as closing or collecting one here would end the
# parent's sessions on the socket that both processes share.
_inherited: list[Any] = []


def pool(alias: str = DEFAULT_DB_ALIAS) -> Pool:
    """The pool of that alias in this process, opened lazily. Raises ConfigurationError when it is used."""
    global _owner, _pools
    if _owner != os.getpid():
        with _lock:
            if _owner != os.getpid():
                _inherited.append(_pools)
                _pools, _owner = {}, os.getpid()
    live = connections.settings.get(alias, {})
    target = tuple(live.get(key) for key in ("NAME", "HOST", "PORT", "USER"))
    found = _pools.get(alias)
    if found is not None and found[0] == target:
        return found[1]
    with _lock:
        found = _pools.get(alias)
        if found is None or found[0] != target:
            if found is not None:
                found[1].close()
            found = _pools[alias] = (target, Pool(alias, settings().POOL_SIZE))
    return found[1]


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def close_pools() -> None:
    """Close every pool of this process; the next use opens new ones."""
    with _lock:
        for _, each in _pools.values():
            each.close()
        _pools.clear()


@contextmanager
def lending(alias: str, connection: Connection) -> Iterator[None]:
    """While this lasts, the pool hands out that connection, so that a test's uncommitted rows are seen."""
    target = pool(alias)
    arrays.register(connection)
    target._lent = connection
    try:
        yield
    finally:
        target._lent = None


# Django's connections that a test has lent, by alias, for the threads of the graph it executes.
_lent_django: dict[str, BaseDatabaseWrapper] = {}


@contextmanager
def lending_django(wrapper: BaseDatabaseWrapper) -> Iterator[None]:
    """The same with Django's own connection, which the graph's nodes and tasks then use on every thread.

    Statements of several threads take turns; transactions of nodes that run in parallel are not parted.
    """
    wrapper.inc_thread_sharing()
    _lent_django[wrapper.alias] = wrapper
    try:
        with lending(wrapper.alias, wrapper.connection):
            yield
    finally:
        del _lent_django[wrapper.alias]
        wrapper.dec_thread_sharing()


def is_lent(wrapper: BaseDatabaseWrapper) -> bool:
    """Whether this is a test's own connection, whose open transaction is meant to stay open."""
    return _lent_django.get(wrapper.alias) is wrapper


def is_passing(error: BaseException) -> bool:
    """Whether the error is the connection's or the server's, so that the statement may be repeated."""
    if isinstance(error, pg.InterfaceError):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state.startswith("08") or state in _PASSING_STATES


def retrying(alias: str, work: Callable[[Connection], T], *, seconds: float | None = None) -> T:
    """Do the work on a pooled connection; repeat it on connection errors for ``seconds`` (default: LEASE).

    The work must be safe to repeat after a commit whose outcome is not known (R3), as upserts are.
    Raises DatabaseUnreachableError when the time is over; other errors at once.
    """
    limit = settings().LEASE if seconds is None else seconds
    deadline: float | None = None
    pause = _FIRST_PAUSE
    while True:
        try:
            with pool(alias).connection() as connection:
                try:
                    return work(connection)
                except psycopg.Error as error:
                    if is_passing(error) and pool(alias)._lent is None:
                        connection.close()
                    raise
        except psycopg.Error as error:
            if not is_passing(error):
                raise
            now = time.monotonic()
            deadline = deadline or now + limit
            if now + pause > deadline or pool(alias)._lent is not None:
                raise DatabaseUnreachableError(
                    f"The database {alias!r} did not answer for {limit:g} s: {str(error).strip()}",
                    alias=alias,
                ) from error
            logger.warning("database %r: %s; repeating in %.2f s", alias, str(error).strip(), pause)
            pool(alias).drop_idle()
            time.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 - spreads retries, guards nothing
            pause = min(pause * 2, _LONGEST_PAUSE)


def drop_dead_django_connections() -> None:
    """Close this thread's Django connections that the server has ended, so that their next use opens new ones.

    Costs one look at a socket each: a healthy idle connection has nothing to read. A connection that is
    lent takes the place of the thread's own.
    """
    for alias, lent in _lent_django.items():
        connections[alias] = lent
    for wrapper in connections.all(initialized_only=True):
        raw = wrapper.connection
        if raw is None or wrapper.in_atomic_block:
            continue
        if getattr(raw, "closed", False) or (_has_news(raw) and not wrapper.is_usable()):
            wrapper.close()


def close_django_connections() -> None:
    """Close this thread's Django connections that have no transaction open, and return those that are lent."""
    for wrapper in connections.all(initialized_only=True):
        if is_lent(wrapper):
            del connections[wrapper.alias]
        elif not wrapper.in_atomic_block:
            wrapper.close()


def _has_news(raw: Any) -> bool:
    try:
        ready, _, _ = select.select([raw.fileno()], [], [], 0)
    except (psycopg.Error, ValueError, OSError):
        return True
    return bool(ready)
