"""The statements in ``queries/``, one file a family, each with a name and a description."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import LiteralString

from holdfast.sql import named_statements


@cache
def statements() -> dict[str, LiteralString]:
    """All of them by name."""
    return named_statements(files("holdfast.persistence").joinpath("queries"))


def query(name: str) -> LiteralString:
    """The statement of that name. Raises KeyError."""
    return statements()[name]
