"""What a conversation of the store asks of whoever drives it."""

from __future__ import annotations

from typing import Any, LiteralString, NamedTuple

Params = dict[str, Any]
Statement = LiteralString | bytes


class Ask(NamedTuple):
    """Execute it; the answer is its rows."""

    statement: Statement
    params: Params


class Embed(NamedTuple):
    """Turn the texts into vectors, which are the answer; a question's are embedded as such."""

    texts: list[str]
    questions: bool


class Prepare(NamedTuple):
    """See to it that the index's tables are there; the answer is the version of pgvector."""


Step = Ask | Embed | Prepare
