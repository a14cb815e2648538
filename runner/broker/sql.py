"""Reads schema.sql and queries.sql of the broker; stands alone, so that no Django is needed.

No statement of the broker is put together from strings; the one identifier that varies, LISTEN's
channel, is quoted by psycopg.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import LiteralString

_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_REMARK = re.compile(r"^--.*\n", re.MULTILINE)


def schema() -> LiteralString:
    """The statements that make the broker's tables; may be run any number of times."""
    return files("holdfast.runner.broker").joinpath("schema.sql").read_text("utf-8")


@cache
def _queries() -> dict[str, LiteralString]:
    text = files("holdfast.runner.broker").joinpath("queries.sql").read_text("utf-8")
    _, *parts = _HEADING.split(text)
    bodies = (_REMARK.sub("", body).strip() for body in parts[1::2])
    return dict(zip(parts[::2], bodies, strict=True))


def query(name: str) -> LiteralString:
    """The statement of that name in queries.sql. Raises KeyError."""
    return _queries()[name]
