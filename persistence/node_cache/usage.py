"""What the node cache holds and what it has saved, by node and by entry; and emptying it by node (P5).

For people: it reads whole tables, and takes its time where they are large. Hits are up to some seconds old.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from holdfast.conf import settings
from holdfast.persistence.node_cache.asking import ask

Namespace = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeUse:
    """What is cached of one node under one version."""

    namespace: Namespace
    """LangGraph's: its own mark, the function with its module, and the node's name."""
    version: str
    entries: int
    expired: int
    """How many of them retention will delete."""
    hits: int
    misses: int
    saved: float
    """Seconds of computing."""
    bytes: int


@dataclass(frozen=True, slots=True)
class EntryUse:
    """One cached value, without the value."""

    namespace: Namespace
    version: str
    key: str
    cost: float | None
    """Seconds that computing it took; None where nobody measured it."""
    hits: int
    misses: int
    saved: float
    """Seconds of computing."""
    bytes: int
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None


def nodes(*, using: str | None = None) -> list[NodeUse]:
    """What is cached of each node, most saved first. Raises OutageError."""
    rows = ask(using or settings().DATABASE, "cache_totals", {}, seconds=0)
    return [NodeUse(tuple(json.loads(namespace)), *rest) for namespace, *rest in rows]


def entries(node: str, *, limit: int, using: str | None = None) -> list[EntryUse]:
    """The entries of a node, named by itself or by its function, most saved first. Raises OutageError."""
    params = {"node": node, "limit": limit}
    rows = ask(using or settings().DATABASE, "cache_entries", params, seconds=0)
    return [EntryUse(tuple(json.loads(namespace)), *rest) for namespace, *rest in rows]


def clear(node: str, *, using: str | None = None) -> int:
    """Delete the entries of a node, of every graph and version, and tell how many. What is being computed in a run
    meanwhile is not stored. Raises OutageError."""
    alias = using or settings().DATABASE
    namespaces = [row[0] for row in ask(alias, "cache_namespaces", {"node": node}, seconds=0)]
    if not namespaces:
        return 0
    deleted: int = ask(alias, "cache_clear", {"namespaces": namespaces}, seconds=0)[0][0]
    return deleted
