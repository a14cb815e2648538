"""``DjangoStore``: long-term memory for threads and asyncio tasks alike, on upstream's tables.

It opens nothing until it is used, holds no connection between two calls, and repeats statements on connection errors (R3), as
all of them may be repeated. Inside a run its writes carry the fence (P2). It deletes nothing that has expired:
retention does.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from langgraph.store.base import BaseStore, Op, Result, TTLConfig

from holdfast.conf import settings
from holdfast.persistence.connections import Connection, aexecuting, retrying
from holdfast.persistence.fence import Fence
from holdfast.persistence.sql import query
from holdfast.persistence.store.operations import Ask, Batch


class DjangoStore(BaseStore):
    """``BaseStore`` in upstream's table ``store``; needs no arguments and no setup(). Thread-safe.

    One object serves threads (``get``, ``put``, …) and asyncio tasks (``aget``, …); for the latter no thread is
    used. A stock ``PostgresStore`` reads what it wrote, and the other way round.
    """

    supports_ttl = True

    def __init__(
        self, *, using: str | None = None, ttl: TTLConfig | None = None, fence: Fence | None = None
    ) -> None:
        """``using``: the database alias, by default ``HOLDFAST["DATABASE"]``.

        ``ttl``: as upstream's, in minutes, by default ``HOLDFAST["STORE_TTL"]``. ``fence``: the run in whose
        name it writes; the runner gives it. Raises ConfigurationError.
        """
        self.using = using or settings().DATABASE
        self.ttl_config = ttl if ttl is not None else settings().STORE_TTL  # type: ignore[assignment]  # a plain dict
        self.fence = fence

    def under(self, fence: Fence) -> DjangoStore:
        """The same store, writing in the name of a run."""
        fenced = copy.copy(self)
        fenced.fence = fence
        return fenced

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do the operations, in one round trip a kind.

        Raises LeaseLostError, where a write of a run was refused, and nothing of the batch was written (P2);
        InvalidNamespaceError, InvalidInputError, NotSerializableError, before anything is written;
        DatabaseUnreachableError.
        """
        conversation = self._batch(ops).conversation()
        answer: Any = None
        try:
            while True:
                answer = self._execute(conversation.send(answer))
        except StopIteration as end:
            results: list[Result] = end.value
            return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """As ``batch``, from an asyncio task and without a thread."""
        conversation = self._batch(ops).conversation()
        answer: Any = None
        try:
            while True:
                asked = conversation.send(answer)
                answer = (await aexecuting(self.using, asked.statement, asked.params)).fetchall()
        except StopIteration as end:
            results: list[Result] = end.value
            return results

    def sweep_ttl(self) -> int:
        """Delete what has expired; the number of items. Retention does it every night."""

        def work(connection: Connection) -> int:
            return psycopg.Cursor(connection).execute(query("store_sweep")).rowcount

        return retrying(self.using, work)

    def _batch(self, ops: Iterable[Op]) -> Batch:
        ttl: Mapping[str, Any] = self.ttl_config or {}
        return Batch(list(ops), fence=self.fence, omit_expired=bool(ttl.get("omit_expired")))

    def _execute(self, asked: Ask) -> list[tuple[Any, ...]]:
        def work(connection: Connection) -> list[tuple[Any, ...]]:
            # Not connection.cursor(): a lent connection is Django's, whose cursors bind on the client.
            return psycopg.Cursor(connection).execute(asked.statement, asked.params, binary=True).fetchall()

        return retrying(self.using, work)
