"""When the items of a store were made, changed and expire, where LangGraph has no way to write that: in tables it knows.

For transfer only; whoever uses a store has its own ways.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import psycopg

from holdfast.persistence.sql import query
from holdfast.persistence.store.namespaces import namespace_text

if TYPE_CHECKING:  # a worker whose store is elsewhere does not need it
    import sqlite3


class Expiry(NamedTuple):
    """None: it does not expire, or is not prolonged."""

    expires_at: datetime | None
    ttl_minutes: float | None


class Times(Protocol):
    """Those of one store's items."""

    def read(self, namespace: Sequence[str], key: str) -> Expiry | None:
        """When the item expires; None: there is none."""

    def write(
        self, namespace: Sequence[str], key: str, created: datetime, updated: datetime, expiry: Expiry | None
    ) -> None:
        """Set them; of an expiry that is not known (None) the store's own stays."""


class TimesInPostgreSQL:
    """In the table ``store`` of PostgresStore and DjangoStore."""

    def __init__(self, connect: Callable[[], AbstractContextManager[psycopg.Connection[Any]]]) -> None:
        self._connect = connect

    def read(self, namespace: Sequence[str], key: str) -> Expiry | None:
        item = {"prefix": namespace_text(namespace), "key": key}
        with self._connect() as connection:
            row = _cursor(connection).execute(query("store_expiry"), item).fetchone()
        return None if row is None else Expiry(*row)

    def write(
        self, namespace: Sequence[str], key: str, created: datetime, updated: datetime, expiry: Expiry | None
    ) -> None:
        expires_at, minutes = expiry or (None, None)
        item = {"prefix": namespace_text(namespace), "key": key, "created_at": created, "updated_at": updated}
        known = {"known": expiry is not None, "expires_at": expires_at, "ttl_minutes": minutes}
        with self._connect() as connection:
            _cursor(connection).execute(query("store_set_times"), item | known)


class TimesInSqlite:
    """In the table ``store`` of SqliteStore, whose connection is used under its lock."""

    def __init__(self, connection: sqlite3.Connection, lock: threading.Lock) -> None:
        self._connection, self._lock = connection, lock

    def read(self, namespace: Sequence[str], key: str) -> Expiry | None:
        statement = "SELECT expires_at, ttl_minutes FROM store WHERE prefix = ? AND key = ?"
        with self._lock:
            row = self._connection.execute(statement, (".".join(namespace), key)).fetchone()
        return None if row is None else Expiry(_moment(row[0]), row[1])

    def write(
        self, namespace: Sequence[str], key: str, created: datetime, updated: datetime, expiry: Expiry | None
    ) -> None:
        expires_at, minutes = expiry or (None, None)
        item = {
            "prefix": ".".join(namespace),
            "key": key,
            "created_at": _text(created),
            "updated_at": _text(updated),
            "known": expiry is not None,
            "expires_at": None if expires_at is None else _text(expires_at),
            "ttl_minutes": minutes,
        }
        with self._lock:
            self._connection.execute(_SET_TIMES, item)


_SET_TIMES: Final = """
UPDATE store SET
    created_at = :created_at,
    updated_at = :updated_at,
    expires_at = iif(:known, :expires_at, expires_at),
    ttl_minutes = iif(:known, :ttl_minutes, ttl_minutes)
WHERE prefix = :prefix AND key = :key
"""


def _cursor(connection: psycopg.Connection[Any]) -> psycopg.Cursor[Any]:
    return psycopg.Cursor(connection, row_factory=psycopg.rows.tuple_row)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(" ")


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
