"""``postgresql://…``: stock PostgresSaver and PostgresStore on another PostgreSQL than Django's."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.store.postgres import PostgresStore
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from holdfast.persistence import arrays
from holdfast.persistence.backends.opening import Opened
from holdfast.persistence.backends.times import TimesInPostgreSQL
from holdfast.persistence.connections import is_passing as _is_passing
from holdfast.persistence.saver.thinning import CheckpointKey, doomed
from holdfast.persistence.sql import query

SETUP_LOCK: Final = 0x484F4C4446415354
"""The advisory lock of who sets up upstream's tables: "HOLDFAST"."""
_ANSWER: Final = 5.0  # seconds that a connection may take


def is_passing(error: BaseException) -> bool:
    """The connection's or the server's."""
    return isinstance(error, PoolTimeout) or _is_passing(error)


def open_checkpointer(address: str) -> Opened:
    pool = _pool(address)
    saver = PostgresSaver(pool)
    return _set_up(address, pool, saver, saver.setup, ordered=True)


def open_store(address: str) -> Opened:
    pool = _pool(address)
    store = PostgresStore(pool)
    return _set_up(address, pool, store, store.setup)


def _pool(address: str) -> Any:
    # One lock serialises the calls of a saver, so more than one connection would idle.
    return ConnectionPool(
        address,
        min_size=0,
        max_size=1,
        timeout=_ANSWER,
        open=False,
        check=ConnectionPool.check_connection,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
    )


def _set_up(
    address: str, pool: Any, value: object, setup: Callable[[], None], *, ordered: bool = False
) -> Opened:
    with _alone(address):
        pool.open()
        try:
            setup()
        except BaseException:  # a pool has threads, whatever the setup died of
            pool.close()
            raise

    def threads() -> list[str]:
        with pool.connection() as connection:
            rows = connection.execute("SELECT DISTINCT thread_id FROM checkpoints").fetchall()
            return [row["thread_id"] for row in rows]

    def delete(thread_id: str, keys: Collection[CheckpointKey]) -> None:
        with pool.connection() as connection:  # its tables are those that Django's database has, too
            arrays.register(connection)
            psycopg.Cursor(connection).execute(
                query("thread_delete_some"), doomed(thread_id, keys), prepare=False, binary=True
            )

    return Opened(
        value=value,
        close=pool.close,
        is_passing=is_passing,
        ordered=ordered,
        inline=True,
        threads=threads,
        delete=delete,
        times=TimesInPostgreSQL(pool.connection),
    )


@contextmanager
def _alone(address: str) -> Iterator[None]:
    """Of several processes that start at once, one sets up at a time.

    Whoever waits asks again and again: a session that slept inside of pg_advisory_lock would hold a snapshot,
    for which upstream's CREATE INDEX CONCURRENTLY waits, and neither would come to an end.
    """
    with psycopg.connect(address, autocommit=True, connect_timeout=int(_ANSWER)) as connection:
        while not _locked(connection):
            time.sleep(0.05)  # see above: nothing tells when it is free
        yield


def _locked(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (SETUP_LOCK,)).fetchone()
    return bool(row and row[0])
