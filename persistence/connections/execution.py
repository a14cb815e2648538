"""Executes a statement on a pooled connection from an asyncio task, without a thread in between.

psycopg speaks its protocol in generators that say what they wait for, and drives them with a function for
threads or one for asyncio. So one kind of connection, and one pool, serves sync and async callers: a worker
child needs no second pool for its async graphs. This is the one place that reaches into psycopg for that.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import waiting

from holdfast.persistence.connections.opening import Connection

_CHECK = 1.0
"""Seconds after which a wait looks whether it was interrupted; a cancelled task is told at once."""


async def aexecute(
    connection: Connection,
    statement: Any,
    params: Any = None,
    *,
    prepare: bool | None = None,
    binary: bool = True,
) -> psycopg.Cursor[Any]:
    """A cursor that holds all rows of the statement. Raises psycopg.Error.

    A task that is cancelled leaves the connection in the middle of the statement; the pool drops it then.
    """
    cursor = psycopg.Cursor(connection)
    work = cursor._execute_gen(statement, params, prepare=prepare, binary=binary)
    await waiting.wait_async(work, connection.fileno(), _CHECK)
    return cursor
