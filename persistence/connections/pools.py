"""One pool an alias and process, opened at first use, so after any fork.

It has no threads of its own, and a connection that cannot be made, or breaks, is the caller's error at
once, so that ``retrying`` can repeat the statement within milliseconds of the server's return instead
of after a pool's back-off.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg.pq import TransactionStatus

from holdfast.conf import settings
from holdfast.per_process import PerProcess
from holdfast.persistence import arrays
from holdfast.persistence.connections.opening import Connection, connect
from holdfast.persistence.connections.semaphore import Semaphore
from holdfast.persistence.connections.silence import hang_up

_IN_TRANSACTION = (TransactionStatus.INTRANS, TransactionStatus.INERROR)


class Pool:
    """At most ``size`` connections of one alias in one process; each is used by one thread or task at a time."""

    def __init__(self, alias: str, size: int) -> None:
        self.alias = alias
        self.size = size
        self._permits = Semaphore(size)
        self._idle: list[Connection] = []
        self._busy: dict[Connection, float] = {}
        self.lent: Connection | None = None
        """The one connection that is handed out instead, while ``lending`` lasts."""
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection, waited for if all are in use. Raises psycopg.OperationalError.

        An open transaction is rolled back at the end; a broken connection is dropped.
        """
        if self.lent is not None:
            yield self.lent
            return
        self._permits.acquire()
        try:
            if (connection := self._idle_one()) is None:
                connection = connect(self.alias)
            self._busy[connection] = time.monotonic()
            try:
                yield connection
            finally:
                self._busy.pop(connection, None)
                self._put_back(connection)
        finally:
            self._permits.release()

    @asynccontextmanager
    async def aconnection(self) -> AsyncIterator[Connection]:
        """As ``connection``, for an asyncio task, which drives it with ``aexecute``. Never the lent one."""
        await self._permits.aacquire()
        try:
            if (connection := self._idle_one()) is None:
                connection = await asyncio.to_thread(connect, self.alias)
            self._busy[connection] = time.monotonic()
            try:
                yield connection
            finally:
                self._busy.pop(connection, None)
                self._put_back(connection)
        finally:
            self._permits.release()

    def _idle_one(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

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

    def asking(self, seconds: float) -> list[Connection]:
        """Those that have been in use for so long and wait for an answer."""
        since = time.monotonic() - seconds
        return [
            connection
            for connection, taken in list(self._busy.items())
            if taken < since and connection.pgconn.transaction_status == TransactionStatus.ACTIVE
        ]

    def hang_up(self) -> None:
        """Break all, also under those who use them: the way to the server is silent."""
        for connection in list(self._busy):
            hang_up(connection)
        self.drop_idle()

    def close(self) -> None:
        """Close all; those in use when they are returned."""
        self._closed = True
        self.drop_idle()


class _Pools:
    """Those of one process, each with the server and database that it was opened for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_alias: dict[str, tuple[tuple[Any, ...], Pool]] = {}

    def of(self, alias: str, target: tuple[Any, ...]) -> Pool:
        found = self._by_alias.get(alias)
        if found is not None and found[0] == target:
            return found[1]
        with self._lock:
            found = self._by_alias.get(alias)
            if found is None or found[0] != target:
                if found is not None:
                    found[1].close()
                found = self._by_alias[alias] = (target, Pool(alias, settings().POOL_SIZE))
        return found[1]

    def close(self) -> None:
        with self._lock:
            for _, each in self._by_alias.values():
                each.close()
            self._by_alias.clear()


_pools: Final = PerProcess(_Pools)


def pool(alias: str = DEFAULT_DB_ALIAS) -> Pool:
    """The pool of that alias in this process, opened lazily. Raises ConfigurationError when it is used."""
    live = connections.settings.get(alias, {})
    return _pools().of(alias, tuple(live.get(key) for key in ("NAME", "HOST", "PORT", "USER")))


def close_pools() -> None:
    """Close every pool of this process; the next use opens new ones."""
    _pools().close()


@contextmanager
def lending(alias: str, connection: Connection) -> Iterator[None]:
    """While this lasts, the pool hands out that connection, so that a test's uncommitted rows are seen."""
    target = pool(alias)
    arrays.register(connection)
    target.lent = connection
    try:
        yield
    finally:
        target.lent = None
