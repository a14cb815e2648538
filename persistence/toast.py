"""Has PostgreSQL compress large values with lz4, where the server has it: quicker than its own pglz (docs/performance.md).

Only a remark in the catalogue changes; values that are stored already stay as they are, and both are read. A
server before 14, or one that was built without lz4, is left alone, and so are tables that another role owns.
"""

from __future__ import annotations

from typing import Any, Final

from holdfast.persistence.sql import query

TABLES: Final = (
    *("checkpoints", "checkpoint_blobs", "checkpoint_writes", "store"),
    *("holdfast_run", "holdfast_effect", "holdfast_node_cache"),
)
"""Those that hold values of users."""


def compress(schema_editor: Any) -> None:
    """Use lz4 for what is stored from now on."""
    _set(schema_editor, "lz4")


def compress_by_default(schema_editor: Any) -> None:
    """Use what the server's ``default_toast_compression`` says."""
    _set(schema_editor, "default")


def _set(schema_editor: Any, method: str) -> None:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(query("toast_columns"), {"tables": list(TABLES)})
        for table, columns in cursor.fetchall():
            # Names of our own and of upstream's, quoted by the server.
            changes = ", ".join(f"ALTER COLUMN {column} SET COMPRESSION {method}" for column in columns)
            cursor.execute(f"ALTER TABLE {table} {changes}")
