"""The node cache's way to the database: a named statement, in one round trip, from a thread or an asyncio task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg

from holdfast.persistence.connections import Connection, aexecuting, retrying
from holdfast.persistence.sql import query

Params = Mapping[str, Any]
Rows = list[tuple[Any, ...]]


def ask(alias: str, name: str, params: Params, *, seconds: float | None = None) -> Rows:
    """Its rows. ``seconds``: how long an outage is outlasted, by default LEASE. Raises OutageError."""
    statement = query(name)

    def work(connection: Connection) -> Rows:
        # Not connection.cursor(): a lent connection is Django's, whose cursors bind on the client.
        return psycopg.Cursor(connection).execute(statement, params, binary=True).fetchall()

    return retrying(alias, work, seconds=seconds)


async def aask(alias: str, name: str, params: Params, *, seconds: float | None = None) -> Rows:
    """As ``ask``, on the caller's own event loop, without a thread."""
    return (await aexecuting(alias, query(name), params, seconds=seconds)).fetchall()
