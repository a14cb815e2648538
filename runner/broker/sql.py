"""Reads schema.sql and queries.sql of the broker; stands alone, so that no Django is needed.

No statement of the broker is put together from strings; the one identifier that varies, LISTEN's
channel, is quoted by psycopg.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import LiteralString, cast

_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def schema() -> LiteralString:
    """The statements that make the broker's tables; may be run any number of times."""
    return cast(LiteralString, files(__package__).joinpath("schema.sql").read_text("utf-8"))


@cache
def _queries() -> dict[str, str]:
    text = files(__package__).joinpath("queries.sql").read_text("utf-8")
    _, *parts = _HEADING.split(text)
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def query(name: str) -> LiteralString:
    """The statement of that name in queries.sql. Raises KeyError."""
    return cast(LiteralString, _queries()[name])
