"""Reads queries.sql: each statement there has a name, a description and typed parameters.

No statement in Holdfast is put together from strings.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import LiteralString

_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def _statements() -> dict[str, str]:
    text = files("holdfast.persistence").joinpath("queries.sql").read_text("utf-8")
    _, *parts = _HEADING.split(text)
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def query(name: str) -> LiteralString:
    """The statement of that name in queries.sql. Raises KeyError."""
    return _statements()[name]
