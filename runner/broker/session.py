"""One PostgreSQL session that consumes, or that publishes where there is no Django: opened, used, lost.

Any thread may run statements on it; one at a time does. What is heard on LISTEN is handed to the
owner as soon as it is read, by whichever statement reads it. A session is never used by another
process than the one that opened it, and a lost one is never opened again.
"""

from __future__ import annotations

import atexit
import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from holdfast.runner.broker.address import Address
from holdfast.runner.broker.errors import BrokerConnectionError, BrokerSchemaError
from holdfast.runner.broker.sql import query, schema

CONNECT_TIMEOUT = 1.0
"""Seconds that opening a session may take; libpq's own limit cannot be less than 2."""

_KEEPALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
"""Seconds, and milliseconds: a peer that is cut off is noticed within 15 s."""

_ENDED = {"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25006"}
"""States with which the server ends a session, whether or not its end has been read yet; or with which it takes no
writes any more (25006), so that another session, and perhaps another server, is to be looked for."""

_opened: weakref.WeakSet[Session] = weakref.WeakSet()


def _dial(options: dict[str, Any], timeout: float) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect within ``timeout`` seconds, all hosts together. Raises psycopg.OperationalError."""
    options = {"application_name": "holdfast broker", **_KEEPALIVE, **options, "client_encoding": "UTF8"}
    deadline = time.monotonic() + timeout
    link = pq.PGconn.connect_start(make_conninfo("", **options).encode())
    try:
        link.nonblocking = 1
        while (state := link.connect_poll()) != pq.PollingStatus.OK:
            if link.status == pq.ConnStatus.BAD or state == pq.PollingStatus.FAILED:
                raise psycopg.OperationalError(link.get_error_message())
            poller = select.poll()
            poller.register(
                link.socket, select.POLLIN if state == pq.PollingStatus.READING else select.POLLOUT
            )
            left = deadline - time.monotonic()
            if left <= 0 or not poller.poll(left * 1000):
                raise psycopg.OperationalError(f"no answer from the database within {timeout} s")
    except BaseException:  # whatever it is, nobody else has the socket to close it
        link.finish()
        raise
    connection = psycopg.Connection[tuple[Any, ...]](link)
    connection.autocommit = True
    return connection


class Session:
    """One backend of the server, known to others by its pid and the time it started."""

    def __init__(self, address: Address, *, on_notify: Callable[[str], None], timeout: float) -> None:
        """Open it. Raises BrokerConnectionError, or BrokerSchemaError if an alias is not migrated."""
        self.address = address
        self.process = os.getpid()
        self.lock = threading.RLock()
        self.lost = False
        self._on_notify = on_notify
        try:
            self._connection = _dial(address.connect_options(), timeout)
        except psycopg.Error as error:
            raise BrokerConnectionError(str(error).strip()) from error
        _opened.add(self)
        self.fileno: int = self._connection.fileno()
        self._connection.add_notify_handler(lambda notify: self._on_notify(notify.channel))
        try:
            (row,) = self.rows("whoami")
            self.pid: int = row[0]
            self.start: datetime = row[1]
            if row[3]:
                raise BrokerConnectionError(
                    "The database takes no writes: it is a standby, or set to read only."
                )
            if not row[2]:
                self._make_schema()
            if self.shared_by_a_pooler():
                self._connection.prepare_threshold = None
            else:
                self._connection.prepare_threshold = 0
                self.rows("settle_in")
        except BaseException:  # a session that is not whole is nobody's
            self.close()
            raise

    def _make_schema(self) -> None:
        if self.address.alias is not None:
            raise BrokerSchemaError(
                f"The database {self.address.alias!r} lacks the broker's tables: run manage.py migrate."
            )
        with self._using() as connection, connection.transaction():
            connection.execute(query("lock_schema"))
            connection.execute(schema())

    @property
    def usable(self) -> bool:
        """Whether this process may use it still."""
        return not self.lost and self.process == os.getpid()

    @property
    def names(self) -> dict[str, Any]:
        """The two parameters by which statements name this session."""
        return {"pid": self.pid, "start": self.start}

    def shared_by_a_pooler(self) -> bool:
        """Whether what we talk to is a pooler, where neither LISTEN nor holding works."""
        return self._connection.info.backend_pid != self.pid

    def rows(self, name: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a named statement and return its rows. Raises BrokerConnectionError when the session is lost."""
        with self._using() as connection:
            cursor = connection.execute(query(name), parameters)
            return cursor.fetchall() if cursor.description else []

    def count(self, name: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Run a named statement and return the number of rows that it touched."""
        with self._using() as connection:
            return connection.execute(query(name), parameters).rowcount

    def listen(self, channel: str) -> None:
        """Hear of the channel from now on."""
        with self._using() as connection:
            connection.execute(SQL("LISTEN {}").format(Identifier(channel)))

    def unlisten(self, channel: str) -> None:
        """Hear of the channel no longer."""
        with self._using() as connection:
            connection.execute(SQL("UNLISTEN {}").format(Identifier(channel)))

    def read(self) -> None:
        """Hand over what has arrived on the socket; never waits."""
        with self._using() as connection:
            connection.pgconn.consume_input()
            while notify := connection.pgconn.notifies():
                self._on_notify(notify.relname.decode())

    def _using(self) -> _Use:
        if not self.usable:
            raise BrokerConnectionError("the broker's session is closed")
        return _Use(self)

    def close(self) -> None:
        """End the session; in a forked child, only this process's share of it."""
        if self.process != os.getpid():
            return
        self.lost = True
        with suppress(psycopg.Error):
            self._connection.close()

    def __del__(self) -> None:
        if hasattr(self, "_connection"):
            self.close()


class _Use:
    """One statement's turn on the session; a failure of the connection ends the session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> psycopg.Connection[tuple[Any, ...]]:
        self._session.lock.acquire()
        return self._session._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        session = self._session
        session.lock.release()
        if error is None:
            return
        if not isinstance(error, psycopg.Error):
            if session._connection.closed:
                session.lost = True
            return
        if session._connection.closed or error.sqlstate in _ENDED:
            session.close()
        if session.lost or isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            raise BrokerConnectionError(str(error).strip()) from error
        if isinstance(error, (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction)):
            raise BrokerSchemaError(f"The broker's tables are not as they should be: {error}") from error


def _forget_inherited() -> None:
    """In a forked child: let go of the sockets, so that the parent's death ends its sessions."""
    for session in list(_opened):
        if session.lost:
            continue
        with suppress(OSError):
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, session.fileno)
            os.close(null)


def _close_all() -> None:
    for session in list(_opened):
        session.close()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_inherited)
