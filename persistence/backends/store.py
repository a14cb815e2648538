"""``GuardedStore``: any store of LangGraph's, in the name of a run, or of nobody; it serves asyncio on threads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from langgraph.store.base import BaseStore, Op, PutOp, Result

from holdfast.persistence.backends.address import shown
from holdfast.persistence.backends.lease import Lease
from holdfast.persistence.backends.opening import Opened, opened, patiently
from holdfast.persistence.fence import Fence


def open_store(address: str, *, fence: Fence | None = None) -> GuardedStore:
    """The store at an address other than ``django``. Raises ConfigurationError, OutageError."""
    return GuardedStore(opened("STORE", address), address, fence=fence)


class GuardedStore(BaseStore):
    """Upstream's store behind a lease. Thread-safe as upstream's are."""

    def __init__(self, backend: Opened, address: str, *, fence: Fence | None = None) -> None:
        self.where = shown(address)
        self.inner: BaseStore = backend.value
        self.supports_ttl = self.inner.supports_ttl
        self.ttl_config = self.inner.ttl_config
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
