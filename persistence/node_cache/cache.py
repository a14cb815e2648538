"""``DjangoCache``: values of cached nodes and tasks in the database, shared by all workers (P5).

One statement a call, whatever the number of keys, from a thread or an asyncio task. Values pass through the
strict codec, so nothing that is read is ever unpickled (P12; compare CVE-2026-27794). Reading writes nothing: what
has expired is not returned, and is deleted by retention; hits are counted in memory. It never waits for
another worker: of several that miss one value at the same time each computes it, except in runs (``flights``).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import Struct
from typing import Final
from uuid import UUID

from langgraph.cache.base import BaseCache, FullKey, Namespace, ValueT

from holdfast.conf import settings
from holdfast.errors import DecryptionError, TypeNotAllowedError
from holdfast.faults import point
from holdfast.persistence import arrays
from holdfast.persistence.codec import codec
from holdfast.persistence.codec.strict import Codec
from holdfast.persistence.encryption import bindings
from holdfast.persistence.node_cache.asking import Params, Rows, aask, ask
from holdfast.persistence.node_cache.keys import digests
from holdfast.persistence.node_cache.tally import TROUBLE, params, tally

logger = logging.getLogger("holdfast.node_cache")

_Found = tuple[dict[FullKey, ValueT], list[bytes]]
"""Values by key, and the digests of their entries."""

_ARRAY: Final = Struct("!BI")
"""How msgpack begins an array: 0xdd, and the number of what follows."""
_MOST_MISSED: Final = 10_000
"""Missed keys whose time is remembered, for what computing them took."""


class DjangoCache(BaseCache[ValueT]):
    """A LangGraph cache on Holdfast's database; needs no arguments.

    ``using`` is the database alias, by default ``HOLDFAST["DATABASE"]``; ``serde`` a strict codec that
    knows further types. Entries of another ``version`` are not found. ``on_hit`` is called with namespace and key
    of each value that is returned, from whichever thread asked. Django and the database are touched at first use,
    not here.
    """

    def __init__(
        self,
        *,
        using: str | None = None,
        serde: Codec | None = None,
        version: str = "",
        on_hit: Callable[[Namespace, str], None] | None = None,
    ) -> None:
        super().__init__(serde=serde)
        self._using = using
        self._codec = serde
        self.version = version
        self.on_hit = on_hit
        self._missed: dict[bytes, float] = {}

    def under(self, version: str) -> DjangoCache[ValueT]:
        """One like this for the entries of that version."""
        return DjangoCache(using=self._using, serde=self._codec, version=version, on_hit=self.on_hit)

    @property
    def alias(self) -> str:
        """The alias of the database."""
        return self._using or settings().DATABASE

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """The values that are there and have not expired.

        An entry that names a type outside the allow list, or that does not decrypt, counts as missing, with a
        warning, so that the node runs. Raises OutageError.
        """
        if not keys:
            return {}
        alias, wanted = self.alias, self._wanted(keys)
        found = self._found(alias, wanted, ask(alias, "cache_get", _slots(wanted)))
        tally().write(alias)
        return found

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """As ``get``."""
        if not keys:
            return {}
        alias, wanted = self.alias, self._wanted(keys)
        found = self._found(alias, wanted, await aask(alias, "cache_get", _slots(wanted)))
        if (hits := tally().take(alias)) is not None:
            try:
                left = await aask(alias, "cache_count", params(hits), seconds=0)
            except TROUBLE as error:
                logger.debug("hits are counted later: %s", error)
                tally().put_back(alias, hits)
            else:
                tally().put_back(alias, hits, [slot for (slot,) in left])
        return found

    def set(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Store the values, each with its seconds to live; None lives for ever.

        Raises NotSerializableError (then nothing is stored), OutageError.
        """
        if pairs:
            point("cache-before-set")
            ask(self.alias, "cache_set", self.to_store(pairs))

    async def aset(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """As ``set``."""
        if pairs:
            point("cache-before-set")
            await aask(self.alias, "cache_set", self.to_store(pairs))

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Delete everything under exactly these namespaces, of every version; None deletes the whole cache.

        What is being computed in a run meanwhile is not stored. Raises OutageError.
        """
        if namespaces is None or namespaces:
            ask(self.alias, "cache_clear", _to_clear(namespaces))

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """As ``clear``."""
        if namespaces is None or namespaces:
            await aask(self.alias, "cache_clear", _to_clear(namespaces))

    def to_store(
        self,
        pairs: Mapping[FullKey, tuple[ValueT, int | None]],
        *,
        cost: float | None = None,
        holder: UUID | None = None,
    ) -> Params:
        """The parameters of ``cache_set``. Raises NotSerializableError.

        ``cost``: the seconds that computing each took; None: the time since it was last missed here, if it was.
        """
        serializer, now = self._codec or codec(), time.monotonic()
        keyed = digests(self.version, list(pairs))
        missed = [self._missed.pop(digest, None) for digest in keyed]
        typed = [
            serializer.dump_field(
                value,
                field=f"cached {'/'.join(namespace)}",
                binding=bindings.cached(self.version, namespace, key),
            )
            for (namespace, key), (value, _) in pairs.items()
        ]
        return {
            **_slots(keyed),
            "digests": arrays.blobs(keyed),
            "namespaces": arrays.texts([json.dumps(list(namespace)) for namespace, _ in pairs]),
            "keys": arrays.texts([key for _, key in pairs]),
            "types": arrays.texts([type_ for type_, _ in typed]),
            "values": arrays.blobs([data for _, data in typed]),
            "seconds": [None if ttl is None else float(ttl) for _, ttl in pairs.values()],
            "costs": [cost if cost is not None else since and now - since for since in missed],
            "version": self.version,
            "holder": holder,
        }

    def _wanted(self, keys: Sequence[FullKey]) -> dict[bytes, FullKey]:
        return dict(zip(digests(self.version, keys), keys, strict=True))

    def _found(self, alias: str, wanted: Mapping[bytes, FullKey], rows: Rows) -> dict[FullKey, ValueT]:
        rows = [row for row in rows if row[0] in wanted]  # another key's entry may have the same slot
        found, hits = self._at_once(wanted, rows) or self._one_by_one(wanted, rows)
        if hits:
            tally().add(alias, hits)
        if len(hits) < len(wanted):
            self._note_missed(wanted.keys() - set(hits))
        if self.on_hit is not None:
            for namespace, name in found:
                self.on_hit(namespace, name)
        return found

    def _at_once(self, wanted: Mapping[bytes, FullKey], rows: Rows) -> _Found[ValueT] | None:
        """The values decoded as one array, for a third of the time, if nothing stands in the way of that."""
        hits, types, each = zip(*rows, strict=True) if rows else ((), (), ())
        if not {*types} <= {"msgpack"}:
            return None
        array = _ARRAY.pack(0xDD, len(rows)) + b"".join(each)
        try:
            values: list[ValueT] = (self._codec or codec()).loads_typed(("msgpack", array))
        except TypeNotAllowedError:
            return None
        return dict(zip(map(wanted.__getitem__, hits), values, strict=True)), list(hits)

    def _one_by_one(self, wanted: Mapping[bytes, FullKey], rows: Rows) -> _Found[ValueT]:
        loads = (self._codec or codec()).loads_typed
        found: dict[FullKey, ValueT] = {}
        hits = []
        for digest, type_, data in rows:
            key = wanted[digest]
            try:
                found[key] = loads((type_, data), bindings.cached(self.version, *key))
            except (TypeNotAllowedError, DecryptionError) as error:
                logger.warning("cache entry %s %s is not used: %s", "/".join(key[0]), key[1], error)
            else:
                hits.append(digest)
        return found, hits

    def _note_missed(self, missed: Iterable[bytes]) -> None:
        if len(self._missed) > _MOST_MISSED:
            self._missed.clear()
        self._missed.update(dict.fromkeys(missed, time.monotonic()))


def _slots(wanted: Iterable[bytes]) -> Params:
    return {"slots": arrays.bigints([digest[:8] for digest in wanted])}


def _to_clear(namespaces: Sequence[Namespace] | None) -> Params:
    return {"namespaces": None if namespaces is None else [json.dumps(list(ns)) for ns in namespaces]}
