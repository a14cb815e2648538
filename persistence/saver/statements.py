"""The saver's way to the database: its calls' statements, each in one round trip on a pooled connection.

A call runs in the calling thread (``run``) or in an asyncio task (``arun``), on the same pool; neither needs the
other. No connection is held between two statements. Connection errors are repeated for up to ``LEASE`` seconds and
are never a node's error (R3); on a connection that was given to it nothing is repeated. It knows nothing of
checkpoints.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, TypeVar

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper

from holdfast.persistence import arrays
from holdfast.persistence.connections import Connection, aexecuting, aon_shared, retrying
from holdfast.persistence.saver.asking import Ask, Steps
from holdfast.persistence.saver.decoding import Row
from holdfast.persistence.saver.usage import Usage
from holdfast.persistence.sql import query

T = TypeVar("T")


class Statements:
    """Runs calls on connections of the alias's pool, or on the one that is given only. Thread-safe."""

    def __init__(
        self, alias: str, given: Connection | BaseDatabaseWrapper | None, usage: Usage | None = None
    ) -> None:
        """``given``: psycopg's, or Django's own of the calling thread, which is used on any thread, under psycopg's lock."""
        self._alias = alias
        self._given = given
        self._usage = usage
        self._taught: Connection | None = None

    def _connection(self) -> Connection | None:
        """The one that was given, as it is at the moment: Django's may have been closed and opened again."""
        found: Any = self._given
        if isinstance(found, BaseDatabaseWrapper):
            if found.connection is None:
                found.connect()
            found = found.connection
        if found is not None and found is not self._taught:
            arrays.register(found)  # the pool's connections know the arrays of parameters already
            self._taught = found
        return found  # type: ignore[no-any-return]  # Django's does not say what it holds

    def run(self, steps: Steps[T]) -> T:
        """Do what the call asks for, in this thread. Raises DatabaseUnreachableError, and what the call raises."""
        try:
            step = next(steps)
            while True:
                rows: Sequence[Row] = ()
                try:
                    if isinstance(step, Ask):
                        rows = self.rows(step)
                    else:
                        for stored in step.stored:
                            stored.result()  # a thread's are never asyncio's
                except BaseException as error:  # noqa: BLE001 - the call is told, and raises it or another
                    step = steps.throw(error)
                else:
                    step = steps.send(rows)
        except StopIteration as end:
            result: T = end.value
            return result

    async def arun(self, steps: Steps[T]) -> T:
        """As ``run``, in an asyncio task and without a thread."""
        try:
            step = next(steps)
            while True:
                rows: Sequence[Row] = ()
                try:
                    if isinstance(step, Ask):
                        rows = await self.arows(step)
                    else:
                        for stored in step.stored:
                            await asyncio.wrap_future(stored)
                except BaseException as error:  # noqa: BLE001 - as above; a cancelled task too
                    step = steps.throw(error)
                else:
                    step = steps.send(rows)
        except StopIteration as end:
            result: T = end.value
            return result

    def rows(self, ask: Ask) -> Sequence[Row]:
        """Execute one statement; its rows."""
        statement, began = query(ask.name), time.perf_counter()

        def work(connection: Connection) -> Sequence[Row]:
            # Not connection.cursor(): a lent connection is Django's, whose cursors bind on the client.
            cursor = psycopg.Cursor(connection)
            return _rows(cursor.execute(statement, ask.params, prepare=ask.prepare, binary=True))

        given = self._connection()
        rows = retrying(self._alias, work) if given is None else work(given)
        self._told(ask, began)
        return rows

    async def arows(self, ask: Ask) -> Sequence[Row]:
        """As ``rows``, in an asyncio task."""
        statement, began = query(ask.name), time.perf_counter()
        if (given := self._connection()) is None:
            cursor = await aexecuting(self._alias, statement, ask.params, prepare=ask.prepare)
        else:
            cursor = await aon_shared(given, statement, ask.params, prepare=ask.prepare)
        self._told(ask, began)
        return _rows(cursor)

    def _told(self, ask: Ask, began: float) -> None:
        if self._usage is not None:
            self._usage.asked(ask.name, ask.params, time.perf_counter() - began)


def _rows(cursor: psycopg.Cursor[Any]) -> Sequence[Row]:
    return cursor.fetchall() if cursor.description else ()
