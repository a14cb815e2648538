"""Messages on their way out: the form in which a statement takes them, and how a caller takes them along.

Who writes rows of its own that a message belongs to can have the message put in by the same round trip:
what is published inside of ``collecting`` is given to it, and not to the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, LiteralString, TypedDict

from holdfast.runner.broker.sql import query


class Outgoing(TypedDict):
    """One message, before it is known which queues are bound."""

    exchange: str
    routing_key: str
    queues: list[str]
    """Those that the caller knows of itself."""
    priority: int
    payload: str
    """kombu's message as JSON."""
    ttl: float | None
    """Seconds."""


def as_parameters(messages: Sequence[Outgoing]) -> dict[str, Any]:
    """Parameters of the statement ``publish``."""
    return {"messages": json.dumps(messages)}


def publishing(messages: Sequence[Outgoing]) -> tuple[LiteralString, dict[str, Any]]:
    """The statement that puts them in their queues, and its parameters."""
    return query("publish"), as_parameters(messages)


_collections: ContextVar[dict[str, list[Outgoing]] | None] = ContextVar("holdfast_outgoing", default=None)


@contextmanager
def collecting(alias: str) -> Iterator[list[Outgoing]]:
    """What is published meanwhile in this thread to the broker on that alias, for the caller to put in."""
    found: list[Outgoing] = []
    reset = _collections.set({**(_collections.get() or {}), alias: found})
    try:
        yield found
    finally:
        _collections.reset(reset)


def collected(alias: str, messages: Sequence[Outgoing]) -> bool:
    """Whether somebody takes these messages along."""
    found = (_collections.get() or {}).get(alias)
    if found is None:
        return False
    found += messages
    return True
