"""``GuardedStore``: any store of LangGraph's, in the name of a run, or of nobody; it serves asyncio on threads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from langgraph.store.base import BaseStore, Op, PutOp, Result

from holdfast.errors import ConfigurationError
from holdfast.persistence.backends.address import CUSTOM, scheme_of, shown
from holdfast.persistence.backends.lease import Lease
from holdfast.persistence.backends.opening import Opened, opened, patiently
from holdfast.persistence.codec import codec
from holdfast.persistence.fence import Fence


def open_store(address: str, *, fence: Fence | None = None) -> GuardedStore:
    """The store at an address other than ``django``. Raises ConfigurationError, OutageError.

    LangGraph's stores search in what they store, so that its values cannot be encrypted before they see them.
    """
    if codec().encrypts and scheme_of(address, "STORE") is not CUSTOM:
        raise ConfigurationError(
            f'STORE is {shown(address)!r}, where items would stand in the clear, and HOLDFAST["ENCRYPTION"] has an '
            "active key. Keep the store in django, or name a module:factory that encrypts by itself.",
            setting="STORE",
        )
    return GuardedStore(opened("STORE", address), address, fence=fence)


class GuardedStore(BaseStore):
    """Upstream's store behind a lease. Thread-safe as upstream's are."""

    def __init__(self, backend: Opened, address: str, *, fence: Fence | None = None) -> None:
        self.where = shown(address)
        self.inner: BaseStore = backend.value
        self.supports_ttl = self.inner.supports_ttl
        self.ttl_config = self.inner.ttl_config
        self.times = backend.times
        self._lease = None if fence is None else Lease(fence, self.where)
        self._is_passing = backend.is_passing

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do the operations. Raises LeaseLostError, before any of them, if one is a write (P2); OutageError."""
        wanted = list(ops)
        if self._lease is not None and any(isinstance(op, PutOp) for op in wanted):
            self._lease.check()
        return patiently(lambda: self.inner.batch(wanted), self._is_passing, self.where)

    def sweep_ttl(self) -> int:
        """Delete what has expired; the number of items, 0 where the backend does it by itself."""
        sweep = getattr(self.inner, "sweep_ttl", None)
        return 0 if sweep is None else int(patiently(sweep, self._is_passing, self.where))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """As ``batch``."""
        return await asyncio.to_thread(self.batch, list(ops))
