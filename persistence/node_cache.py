"""``DjangoCache``: values of cached nodes and tasks in the database, shared by all workers (P5).

One statement a call, whatever the number of keys. Values pass through the strict codec, so nothing
that is read is ever unpickled (P12; compare CVE-2026-27794). Reading writes nothing: what has expired
is not returned, and is deleted by retention. Several workers that miss the same value at the same
time each compute it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import LiteralString

from langgraph.cache.base import BaseCache, FullKey, Namespace, ValueT

from holdfast.conf import settings
from holdfast.errors import DecryptionError, TypeNotAllowedError
from holdfast.faults import point
from holdfast.persistence.codec import Codec, codec
from holdfast.persistence.connections import Connection, retrying
from holdfast.persistence.encryption import places
from holdfast.persistence.sql import query

logger = logging.getLogger("holdfast.node_cache")


class DjangoCache(BaseCache[ValueT]):
    """A LangGraph cache on Holdfast's database; needs no arguments.

    ``using`` is the database alias, by default ``HOLDFAST["DATABASE"]``; ``serde`` a strict codec that
    knows further types. ``on_hit`` is called with namespace and key of each value that is returned,
    from whichever thread asked. Django and the database are touched at first use, not here.
    """

    def __init__(
        self,
        *,
        using: str | None = None,
        serde: Codec | None = None,
        on_hit: Callable[[Namespace, str], None] | None = None,
    ) -> None:
        super().__init__(serde=serde)
        self._using = using
        self._codec = serde
        self.on_hit = on_hit

    @property
    def alias(self) -> str:
        """The alias of the database."""
        return self._using or settings().DATABASE

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """The values that are there and have not expired.

        An entry that names a type outside the allow list, or that cannot be decrypted, counts as missing,
        with a warning, so that the node runs. Raises DatabaseUnreachableError.
        """
        wanted = list(keys)
        if not wanted:
            return {}
        params = {"namespaces": [_text(ns) for ns, _ in wanted], "keys": [key for _, key in wanted]}

        def work(connection: Connection) -> list[tuple[int, str, bytes]]:
            return connection.execute(query("cache_get"), params).fetchall()

        found: dict[FullKey, ValueT] = {}
        for position, type_, data in retrying(self.alias, work):
            key = wanted[position - 1]
            try:
                found[key] = self._serializer().loads_typed((type_, bytes(data)), places.cached(*key))
            except (TypeNotAllowedError, DecryptionError) as error:
                logger.warning("cache entry %s %s is not used: %s", "/".join(key[0]), key[1], error)
        if self.on_hit is not None:
            for namespace, name in found:
                self.on_hit(namespace, name)
        return found

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """As ``get``, in a thread."""
        return await asyncio.to_thread(self.get, keys)

    def set(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Store the values, each with its seconds to live; None lives for ever.

        Raises NotSerializableError (then nothing is stored), DatabaseUnreachableError.
        """
        if not pairs:
            return
        rows = [
            (
                _text(namespace),
                key,
                *self._serializer().dump_field(
                    value, field=f"cached {'/'.join(namespace)}", place=places.cached(namespace, key)
                ),
                ttl,
            )
            for (namespace, key), (value, ttl) in pairs.items()
        ]
        namespaces, keys, types, values, seconds = (list(column) for column in zip(*rows, strict=True))
        params = {
            "namespaces": namespaces,
            "keys": keys,
            "types": types,
            "values": values,
            "seconds": [None if ttl is None else float(ttl) for ttl in seconds],
        }
        point("cache-before-set")
        self._execute(query("cache_set"), params)

    async def aset(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """As ``set``, in a thread."""
        await asyncio.to_thread(self.set, pairs)

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Delete everything under exactly these namespaces; None deletes the whole cache."""
        if namespaces is not None and not namespaces:
            return
        params = {"namespaces": None if namespaces is None else [_text(ns) for ns in namespaces]}
        self._execute(query("cache_clear"), params)

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """As ``clear``, in a thread."""
        await asyncio.to_thread(self.clear, namespaces)

    def _execute(self, statement: LiteralString, params: Mapping[str, object]) -> None:
        def work(connection: Connection) -> None:
            connection.execute(statement, params)

        retrying(self.alias, work)

    def _serializer(self) -> Codec:
        return self._codec or codec()


def _text(namespace: Namespace) -> str:
    """A namespace as one text, as PostgreSQL has no arrays of arrays of different length."""
    return json.dumps(list(namespace))
