"""The saver's calls for asyncio: each statement in the task that calls, on the same pool, and no thread.

A task that waits for the database holds up neither its loop nor a thread, and the number of connections stays
that of the pool. What a call does is the same as in ``synchronous``; both drive ``calls``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)

from holdfast.persistence.saver.encoding import Batch, Key, replaces
from holdfast.persistence.saver.flusher import aflush_later
from holdfast.persistence.saver.held import HOLD
from holdfast.persistence.saver.metadata import check_filter
from holdfast.persistence.saver.reading import Listing
from holdfast.persistence.saver.synchronous import SyncSaver


class DjangoSaver(SyncSaver):
    """Checkpoints in the project's database, in upstream's tables; needs no arguments and no setup().

    ``DjangoSaver(using="alias")``: another database. It may be copied and shared by threads and event loops.
    """

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """As ``get_tuple``."""
        return await self._statements.arun(self._get(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """As ``list``."""
        check_filter(self.serde, filter)
        listing = Listing(config, filter, before, limit)
        while (page := await self._statements.arun(self._page(listing))) is not None:
            for found in page:
                yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """As ``put``."""
        return await self._statements.arun(self._put(config, checkpoint, metadata, new_versions))

    async def aput_after(
        self,
        writes: Sequence[asyncio.Future[None]],
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """As ``put_after``, with writes of ``aput_writes_soon``."""
        return await self._statements.arun(self._put(config, checkpoint, metadata, new_versions, writes))

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """As ``put_writes``."""
        key, batch, replace = self._encoded(config, writes, task_id, task_path)
        if self.fence is not None and not replace:
            self._hold(key, batch)
            await asyncio.wrap_future(batch.stored)
        else:
            with self._held.beside(key, batch):
                await self._statements.arun(self._store_writes(key, [batch], replace=replace))

    def aput_writes_soon(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> asyncio.Future[None] | None:
        """As ``aput_writes``, in this place and without a task; None where the writes may not wait.

        The future is done when they are durable, or has the error. Called on the loop's own thread.
        """
        if self.fence is None or replaces(writes):
            return None
        try:
            key, batch, _ = self._encoded(config, writes, task_id, task_path)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the future is asked
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed
        batch.awaited = asyncio.wrap_future(batch.stored)
        self._hold(key, batch)
        return batch.awaited

    def _hold(self, key: Key, batch: Batch) -> None:
        self._held.hold(key, batch)
        aflush_later(HOLD, partial(self._held.is_waiting, key, batch), partial(self._aflush, key))

    async def _aflush(self, key: Key) -> None:
        while True:
            with self._held.leaving(key) as batches:
                if not batches:
                    return
                await self._statements.arun(self._store_writes(key, batches))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """As ``get_delta_channel_history``."""
        return await self._statements.arun(self._history(config, channels))

    async def adelete_thread(self, thread_id: str) -> None:
        """As ``delete_thread``."""
        await self._statements.arun(self._delete_threads([thread_id]))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """As ``delete_for_runs``."""
        await self._statements.arun(self._delete_for_runs(run_ids))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """As ``copy_thread``."""
        await self._statements.arun(self._copy_thread(source_thread_id, target_thread_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """As ``prune``."""
        await self._statements.arun(self._prune(thread_ids, strategy))


class AsyncDjangoSaver(DjangoSaver):
    """The same under the name that an async program looks for."""
