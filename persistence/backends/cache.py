"""``GuardedCache``: any cache of LangGraph's, with the strict codec and the timeline's hits; asyncio on threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langgraph.cache.base import BaseCache, FullKey, Namespace

from holdfast.errors import DecryptionError, TypeNotAllowedError
from holdfast.persistence.backends.address import shown
from holdfast.persistence.backends.opening import Opened, opened, patiently
from holdfast.persistence.codec import codec
from holdfast.persistence.codec.strict import Codec

logger = logging.getLogger("holdfast.backends")

OnHit = Callable[[Namespace, str], None]


def open_cache(
    address: str, *, allow: Iterable[Any] = (), version: str = "", on_hit: OnHit | None = None
) -> GuardedCache:
    """The cache at an address other than ``django``; entries of another ``version`` are not found.

    Raises ConfigurationError, OutageError.
    """
    return GuardedCache(opened("CACHE", address), address, serde=codec(allow), version=version, on_hit=on_hit)


class GuardedCache(BaseCache[Any]):
    """Upstream's cache, which is given bytes. ``on_hit`` is called with namespace and key of each value returned.

    Graphs with types of their own share it, so it can have none of their serializers.
    """

    def __init__(
        self, backend: Opened, address: str, *, serde: Codec, version: str, on_hit: OnHit | None
    ) -> None:
        super().__init__(serde=serde)
        self._codec = serde
        self._where = shown(address)
        self._is_passing = backend.is_passing
        self._on_hit = on_hit
        self._above: Namespace = (version,) if version else ()
        self._inner: BaseCache[Any] = backend.value
        # It is given bytes only, which are encrypted already, and shall make nothing else of what it finds.
        self._inner.serde = Codec()

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, Any]:
        """The values that are there.

        What names a type outside the allow list, or does not open, counts as missing, with a warning.
        """
        asked = [(self._above + namespace, name) for namespace, name in keys]
        stored = patiently(lambda: self._inner.get(asked), self._is_passing, self._where)
        found: dict[FullKey, Any] = {}
        for (namespace, name), data in stored.items():
            key = (namespace[len(self._above) :], name)
            type_, _, encoded = data.partition(b"\n")
            try:
                found[key] = self._codec.loads_typed((type_.decode(), encoded))
            except (TypeNotAllowedError, DecryptionError) as error:
                logger.warning("cache entry %s %s is not used: %s", "/".join(key[0]), key[1], error)
                continue
            if self._on_hit is not None:
                self._on_hit(*key)
        return found

    def set(self, pairs: Mapping[FullKey, tuple[Any, int | None]]) -> None:
        """Store the values, each with its seconds to live; None lives for ever. Raises NotSerializableError."""
        stored = {
            (self._above + key[0], key[1]): (self._encoded(key, value), ttl)
            for key, (value, ttl) in pairs.items()
        }
        patiently(lambda: self._inner.set(stored), self._is_passing, self._where)

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Delete everything of this version under these namespaces; None deletes the whole cache."""
        asked = None if namespaces is None else [self._above + each for each in namespaces]
        patiently(lambda: self._inner.clear(asked), self._is_passing, self._where)

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, Any]:
        """As ``get``."""
        return await asyncio.to_thread(self.get, keys)

    async def aset(self, pairs: Mapping[FullKey, tuple[Any, int | None]]) -> None:
        """As ``set``."""
        await asyncio.to_thread(self.set, pairs)

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """As ``clear``."""
        await asyncio.to_thread(self.clear, namespaces)

    def _encoded(self, key: FullKey, value: Any) -> bytes:
        type_, data = self._codec.dump_field(value, field=f"cached {'/'.join(key[0])}")
        return type_.encode() + b"\n" + data
