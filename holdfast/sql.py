"""Reads named statements from .sql files: ``-- name:``, what it does, the statement.

No statement in Holdfast is put together from strings. Which files are read is the business of whoever
asks: ``persistence/sql.py`` and ``runner/broker/sql.py``. Needs no Django.
"""

from __future__ import annotations

import re
from importlib.resources.abc import Traversable
from typing import LiteralString

_HEADING = re.compile(r"^-- name:(.*)$", re.MULTILINE)
_REMARK = re.compile(r"^--.*\n?", re.MULTILINE)


def named_statements(place: Traversable) -> dict[str, LiteralString]:
    """The statements by name, without their remarks, of one .sql file or of every one in a folder.

    Raises ValueError for a name that stands twice, also in two files, or that is no identifier.
    """
    sources = place.iterdir() if place.is_dir() else [place]
    found: dict[str, LiteralString] = {}
    for source in sorted(
        (each for each in sources if each.name.endswith(".sql")), key=lambda each: each.name
    ):
        _, *parts = _HEADING.split(source.read_text("utf-8"))
        for heading, body in zip(parts[::2], parts[1::2], strict=True):
            name = heading.strip()
            if not name.isidentifier() or name in found:
                raise ValueError(f"{source.name}: the name {name!r} stands twice, or is none")
            found[name] = _REMARK.sub("", body).strip()
    return found
