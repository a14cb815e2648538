"""The statements of ``operations.sql`` and ``vectors.sql``, with the parts that several of them have put in.

What goes into a statement is a part of the same files or a constant of the index: never a value.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import LiteralString

from psycopg import sql

from holdfast.sql import named_statements

_PARTS = ("meets", "prolonging", "indexing")


@cache
def templates() -> dict[str, LiteralString]:
    """Statements and parts by name."""
    folder = files("holdfast.persistence").joinpath("store")
    return {
        name: text.rstrip(";")
        for file in ("operations.sql", "vectors.sql")
        for name, text in named_statements(folder.joinpath(file)).items()
    }


def composed(name: str, **given: sql.Composable) -> bytes:
    """The statement of that name. ``given``: what else stands there in braces, or in the place of a part."""
    parts = {part: sql.SQL(templates()[part]).format(**given) for part in _PARTS if part not in given}
    return sql.SQL(templates()[name]).format(**parts | given).as_bytes(None)


@cache
def plain(name: str) -> bytes:
    """As it is for a store without an index."""
    return composed(name, indexing=sql.SQL(""))
