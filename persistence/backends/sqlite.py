"""``sqlite:///relative.db``, ``sqlite:////absolute.db``: files that all processes of one machine share."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Final

from langgraph.cache.sqlite import SqliteCache
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.store.sqlite import SqliteStore

from holdfast.persistence.backends.address import path_of
from holdfast.persistence.backends.opening import Opened
from holdfast.persistence.backends.times import TimesInSqlite
from holdfast.persistence.saver.thinning import CheckpointKey

BUSY: Final = 30.0
"""Seconds that a statement waits for another process's transaction."""


def is_passing(error: BaseException) -> bool:
    """Another process writes, for longer than ``BUSY``."""
    return isinstance(error, sqlite3.OperationalError) and ("locked" in str(error) or "busy" in str(error))


def open_checkpointer(address: str) -> Opened:
    connection = _connect(address)
    saver = SqliteSaver(connection)
    saver.setup()

    def threads() -> list[str]:
        with saver.lock:
            return [name for (name,) in connection.execute("SELECT DISTINCT thread_id FROM checkpoints")]

    def delete(thread_id: str, keys: Collection[CheckpointKey]) -> None:
        rows = [(thread_id, *key) for key in keys]
        with saver.cursor() as cursor:  # one transaction; each checkpoint holds all of its values
            for table in ("writes", "checkpoints"):
                where = "thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"
                cursor.executemany(f"DELETE FROM {table} WHERE {where}", rows)  # noqa: S608 - both are written here

    return Opened(
        value=saver,
        close=connection.close,
        is_passing=is_passing,
        ordered=True,
        threads=threads,
        delete=delete,
    )


def open_store(address: str) -> Opened:
    connection = _connect(address, autocommit=True)
    store = SqliteStore(connection)
    store.setup()
    times = TimesInSqlite(connection, store.lock)
    return Opened(value=store, close=connection.close, is_passing=is_passing, times=times)


def open_cache(address: str) -> Opened:
    cache = SqliteCache[object](path=path_of(address))
    return Opened(value=cache, close=cache._conn.close, is_passing=is_passing)


def _connect(address: str, *, autocommit: bool = False) -> sqlite3.Connection:
    # The saver and the store hold a lock around each use of it.
    connection = sqlite3.connect(path_of(address), timeout=BUSY, check_same_thread=False)
    if autocommit:
        connection.isolation_level = None
    return connection
