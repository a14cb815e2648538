"""Where a value stands: LangGraph's namespace and key, and the version of the graph that made it, as one number.

The database finds an entry by 64 bits of a digest: comparing numbers is several times faster than comparing
namespaces, and a step may ask for a hundred values. All 128 bits stand beside it, and say whether it is the
entry that was asked for. Nothing here touches the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from langgraph.cache.base import FullKey, Namespace

SIZE = 16
"""Bytes of a digest; the first eight are the slot."""


def digests(version: str, keys: Sequence[FullKey]) -> list[bytes]:
    """The digest of each key, in their order."""
    begun: dict[Namespace, blake2b] = {}
    found = []
    last, start = None, blake2b()
    for namespace, key in keys:
        if namespace != last:  # nearly always it is that of the key before
            last = namespace
            if namespace not in begun:
                begun[namespace] = _begun(version, namespace)
            start = begun[namespace]
        digest = start.copy()
        digest.update(key.encode())
        found.append(digest.digest())
    return found


def slot(digest: bytes) -> int:
    """The number that the database finds an entry by."""
    return int.from_bytes(digest[:8], "big", signed=True)


def _begun(version: str, namespace: Namespace) -> blake2b:
    # Each part with its length, and how many there are: no two keys give the same bytes.
    parts = [version.encode(), *(part.encode() for part in namespace)]
    return blake2b(b"%d;" % len(parts) + b"".join(b"%d:%s" % (len(p), p) for p in parts), digest_size=SIZE)
