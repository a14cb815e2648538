"""LangGraph's long-term memory on the project's own database: upstream's store on our pool.

It opens nothing until it is used, and repeats on connection errors, as all its operations may be
repeated. Search by meaning (vectors) is not part of it yet: it needs the pgvector extension, which
upstream's ``PostgresStore(…, index=…).setup()`` makes. Its writes are not fenced yet (P2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

from langgraph.store.base import BaseStore, Op, Result, TTLConfig
from langgraph.store.postgres import PostgresStore

from holdfast.conf import settings
from holdfast.persistence.connections import retrying

T = TypeVar("T")


class DjangoStore(BaseStore):
    """``BaseStore`` in upstream's table ``store``; needs no arguments and no setup()."""

    supports_ttl = True

    def __init__(self, *, using: str | None = None, ttl: TTLConfig | None = None) -> None:
        """``using``: the database alias, by default ``HOLDFAST["DATABASE"]``; ``ttl``: in minutes, as upstream's.

        Raises ConfigurationError.
        """
        self.using = using or settings().DATABASE
        self.ttl_config = ttl

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do the operations in one go. Raises DatabaseUnreachableError."""
        wanted = list(ops)
        return self._upstream(lambda store: store.batch(wanted))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """As ``batch``, on a thread."""
        return await asyncio.to_thread(self.batch, ops)

    def sweep_ttl(self) -> int:
        """Delete what has expired; the number of items."""
        return self._upstream(lambda store: store.sweep_ttl())

    def _upstream(self, work: Callable[[PostgresStore], T]) -> T:
        return retrying(self.using, lambda connection: work(PostgresStore(connection, ttl=self.ttl_config)))
