"""The saver's way to the database: a named statement, in one round trip on a pooled connection.

It holds no connection between two calls. Connection errors are repeated for up to ``LEASE`` seconds and are
never a node's error (R3); on a connection that was given to it nothing is repeated. It knows nothing of
checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol

from holdfast.errors import DatabaseUnreachableError
from holdfast.persistence import arrays
from holdfast.persistence.connections import Connection, retrying
from holdfast.persistence.fence import Fence
from holdfast.persistence.saver.decoding import Row
from holdfast.persistence.saver.encoding import Params
from holdfast.persistence.sql import query

T = TypeVar("T")


class Statements:
    """Runs them on connections of the alias's pool, or on the one ``connection`` only. Thread-safe."""

    def __init__(self, alias: str, connection: Connection | None) -> None:
        self._alias = alias
        self._connection = connection
        if connection is not None:
            arrays.register(connection)  # the pool's connections know the arrays of parameters already

    def execute(self, name: str, params: Params) -> None:
        """Run it. Raises DatabaseUnreachableError."""
        statement = query(name)
        self._do(lambda connection: psycopg.Cursor(connection).execute(statement, params))

    def rows(self, name: str, params: Params, *, prepare: bool | None = None) -> Sequence[Row]:
        """Run it; its rows. Raises DatabaseUnreachableError."""
        statement = query(name)

        def work(connection: Connection) -> Sequence[Row]:
            # Not connection.cursor(): a lent connection is Django's, whose cursors bind on the client.
            cursor = psycopg.Cursor(connection)
            return cursor.execute(statement, params, prepare=prepare, binary=True).fetchall()

        return self._do(work)

    def fenced(self, name: str, params: Params, fence: Fence) -> None:
        """Run it under the fence. Raises LeaseLostError where another attempt owns the run (R2).

        Nothing is stored behind a hole: once a statement was given up, those that follow are refused as it was.
        """
        if fence.broken:
            raise DatabaseUnreachableError(
                "An earlier write of this attempt was given up.", alias=self._alias
            )
        try:
            rows = self.rows(name, params | fence.params)
        except DatabaseUnreachableError:
            fence.broken = True
            raise
        fence.check(rows[0][0])

    def upstream(self, serde: SerializerProtocol, work: Callable[[PostgresSaver], T]) -> T:
        """Let upstream's own saver do it."""
        return self._do(lambda connection: work(PostgresSaver(connection, serde=serde)))

    def _do(self, work: Callable[[Connection], T]) -> T:
        return retrying(self._alias, work) if self._connection is None else work(self._connection)
