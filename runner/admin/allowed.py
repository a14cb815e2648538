"""Which types of a graph's own may be decoded for a page: those of its schema, if it is registered here."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.errors import GraphDefinitionError, UnknownGraphError
from holdfast.graphs import registry


def types_of(graphs: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """The allow list of these (name, version) pairs; one that is unknown here, or unusable, adds nothing."""
    found: set[tuple[str, str]] = set()
    for name, version in graphs:
        try:
            found |= registry.get(name, version).allowlist
        except (UnknownGraphError, GraphDefinitionError):
            continue
    return frozenset(found)
