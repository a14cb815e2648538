"""Empties a database between two tests in milliseconds.

TRUNCATE makes and syncs new files for each table and index, which takes most of a second for all of ours on a
busy disk, though hardly any of them holds a row. DELETE does not, but leaves the dead rows where they are.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

WORTH_TRUNCATING = 1 << 20
"""Bytes of a table with its indexes from which on it is truncated, lest dead rows pile up."""

_TABLES = """
SELECT c.relname FROM pg_class c
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
    AND c.relname !~ '_migrations$' AND c.relname NOT IN ('django_content_type', 'auth_permission')
ORDER BY 1
"""
_FILLED = """
SELECT c.relname, pg_total_relation_size(c.oid) > %s FROM pg_class c
WHERE c.relname = ANY(%s) AND c.relnamespace = 'public'::regnamespace AND pg_relation_size(c.oid) > 0
"""


def empty(connection: psycopg.Connection[Any]) -> None:
    """Delete all rows, upstream's too, but what migrating leaves behind.

    As with TRUNCATE, whoever is still writing to a table ends that first.
    """
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        tables = [name for (name,) in cursor.execute(_TABLES).fetchall()]
        cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(_listed(tables)))
        filled = cursor.execute(_FILLED, [WORTH_TRUNCATING, tables]).fetchall()
        if big := [name for name, is_big in filled if is_big]:
            cursor.execute(sql.SQL("TRUNCATE {} CASCADE").format(_listed(big)))
        if small := [name for name, is_big in filled if not is_big]:
            deleting = (
                sql.SQL("{} AS (DELETE FROM {})").format(
                    sql.Identifier(f"rows_of_{name}"), sql.Identifier(name)
                )
                for name in small
            )
            # One statement: who refers to whom is looked at when it has ended.
            cursor.execute(sql.SQL("WITH {} SELECT").format(sql.SQL(", ").join(deleting)))


def _listed(tables: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, tables))
