"""The broker's tables (schema.sql) and its statements (queries.sql); needs no Django.

No statement of the broker is put together from strings; the one identifier that varies, LISTEN's
channel, is quoted by psycopg.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import LiteralString

from holdfast.sql import named_statements


def schema() -> LiteralString:
    """The statements that make the broker's tables; may be run any number of times."""
    return files("holdfast.runner.broker").joinpath("schema.sql").read_text("utf-8")


@cache
def statements() -> dict[str, LiteralString]:
    """All statements of queries.sql by name."""
    return named_statements(files("holdfast.runner.broker").joinpath("queries.sql"))


def query(name: str) -> LiteralString:
    """The statement of that name in queries.sql. Raises KeyError."""
    return statements()[name]
