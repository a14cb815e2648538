"""How a binding matches a routing key; the same rules as the statement ``publish`` applies in the database.

Touches no connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypedDict


class Binding(TypedDict):
    """One row of the table of bindings; ``pattern`` is set for topics."""

    exchange: str
    queue: str
    routing_key: str
    kind: str
    pattern: str | None


def matching(bindings: Iterable[Binding], routing_key: str) -> list[str]:
    """The queues that get a message with that key.

    A connection asks this of what it bound itself, so that a declaration that waits for the end of
    a transaction is good for the messages within it.
    """
    return sorted({binding["queue"] for binding in bindings if _matches(binding, routing_key)})


def _matches(binding: Binding, routing_key: str) -> bool:
    if binding["kind"] == "fanout":
        return True
    if binding["pattern"] is not None:
        return re.match(binding["pattern"], routing_key) is not None
    return binding["routing_key"] == routing_key


def topic_pattern(routing_key: str) -> str:
    """The regular expression of a topic binding: ``*`` is one word, ``#`` any number of words."""
    pattern = ""
    for number, word in enumerate(routing_key.split(".")):
        dot = r"\." if number and pattern else ""
        if word == "#":
            pattern = rf"{pattern}(\.[^.]+)*" if pattern else "(.*)"
        elif pattern == "(.*)":
            pattern = rf"(.*\.)?{_word(word)}"
        else:
            pattern += dot + _word(word)
    return f"^{pattern}$"


def _word(word: str) -> str:
    return "[^.]+" if word == "*" else re.sub(r"(\W)", r"\\\1", word)
