"""Which types the stored values have, and whether they would be loaded: ``holdfast doctor --types`` (P12).

Reads every encoded value of the database once, by a cursor of the server's; builds and imports none of their types.
What is encrypted under a key that is there is looked at, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from holdfast.conf import settings
from holdfast.errors import HoldfastError
from holdfast.persistence import codec
from holdfast.persistence.codec import Key
from holdfast.persistence.connections import connect
from holdfast.persistence.encryption import keyring
from holdfast.persistence.sql import query

PLACES: Final = 5
"""How many of the places where a type was found are told."""
AT_ONCE: Final = 200
"""Rows that are fetched at once."""


@dataclass(kw_only=True, slots=True)
class StoredType:
    """One type that stored values name, or one reason why values cannot be looked at."""

    name: str
    """Module and name; or what the value is stored as, such as "pickle"; or what is wrong with it."""
    values: int = 0
    places: list[str] = field(default_factory=list)
    """Where it was found, a few of them."""
    allowed: str = ""
    """By what it may be loaded: "always", "SERIALIZABLE" or "graph"; empty: not at all, or not everywhere."""
    refused: list[str] = field(default_factory=list)
    """The graphs for which it would not be loaded; a dash stands for values without a run."""


Progress = Callable[[int], None]


def survey(progress: Progress | None = None, using: str | None = None) -> list[StoredType]:
    """All of them, those that would not be loaded first. ``progress`` gets the number of values so far."""
    from holdfast.persistence.codec.survey import types_in

    ring, found, allowed = keyring(), dict[Key, StoredType](), cache(_allowed)
    with connect(using or settings().DATABASE) as connection, connection.transaction():
        for count, (place, graph, version, tag, data) in enumerate(_rows(connection), 1):
            try:
                inner, plain = ring.open(tag, bytes(data))
                names: Iterable[Key] = types_in(inner, plain)
            except HoldfastError as error:
                names = [("", error.message)]
            except (ValueError, IndexError, TypeError):
                names = [("", f"bytes that are not what their type {tag!r} says")]
            for key in names:
                named = ".".join(filter(None, key))
                _note(
                    found.setdefault(key, StoredType(name=named)),
                    place,
                    graph,
                    version,
                    allowed(key, graph, version),
                )
            if progress is not None and count % AT_ONCE == 0:
                progress(count)
    return sorted(found.values(), key=lambda each: (not each.refused, each.name))


def _rows(connection: Any) -> Iterator[Any]:
    with connection.cursor(name="holdfast_types") as cursor:
        cursor.itersize = AT_ONCE
        yield from cursor.execute(query("types_values"))


def _note(each: StoredType, place: str, graph: str | None, version: str | None, allowed: str) -> None:
    each.values += 1
    if place not in each.places and len(each.places) < PLACES:
        each.places.append(place)
    if not allowed:
        each.allowed = ""
        label = f"{graph} {version}" if graph else "-"
        if label not in each.refused:
            each.refused.append(label)
    elif not each.refused:
        each.allowed = allowed


def _allowed(key: Key, graph: str | None, version: str | None) -> str:
    from holdfast.persistence.codec.safe import SAFE

    if key in SAFE:
        return "always"
    if codec.codec().allows(*key):
        return "SERIALIZABLE"
    if graph is not None and version is not None:
        return "graph" if codec.codec(codec.types_of(graph, version)).allows(*key) else ""
    return ""
