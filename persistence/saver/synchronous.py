"""The saver's calls for threads: each statement in the calling thread, and no event loop.

It holds no lock and, between calls, no connection: parallel threads write in parallel, and whoever
iterates ``list`` may call anything else meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
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

from holdfast.persistence.saver.calls import Calls
from holdfast.persistence.saver.encoding import Key
from holdfast.persistence.saver.flusher import flush_later
from holdfast.persistence.saver.held import HOLD
from holdfast.persistence.saver.metadata import check_filter
from holdfast.persistence.saver.reading import Listing


class SyncSaver(Calls):
    """The synchronous half of DjangoSaver."""

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store the checkpoint; its config.

        Raises NotSerializableError, LeaseLostError, DatabaseUnreachableError; GraphDrained in an abandoned attempt.
        """
        return self._statements.run(self._put(config, checkpoint, metadata, new_versions))

    def put_after(
        self,
        writes: Sequence[Future[None]],
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """As ``put``, together with these writes (of ``put_writes_soon``) or after them, and not if one has failed."""
        return self._statements.run(self._put(config, checkpoint, metadata, new_versions, writes))

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store a task's writes; they may wait for a few milliseconds to go along with a checkpoint.

        Durable when it returns. Raises NotSerializableError, LeaseLostError, DatabaseUnreachableError; GraphDrained
        for a task that was abandoned.
        """
        self._written(config, writes, task_id, task_path).result()

    def put_writes_soon(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> Future[None]:
        """As ``put_writes``, without waiting: the future is done when they are durable, or has the error."""
        try:
            return self._written(config, writes, task_id, task_path)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the future is asked
            failed: Future[None] = Future()
            failed.set_exception(error)
            return failed

    def _written(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> Future[None]:
        key, batch, replace = self._encoded(config, writes, task_id, task_path)
        if self.fence is not None and not replace:
            self._held.hold(key, batch)
            flush_later(HOLD, partial(self._held.is_waiting, key, batch), partial(self._flush, key))
        else:
            with self._held.beside(key, batch):
                self._statements.run(self._store_writes(key, [batch], replace=replace))
        return batch.stored

    def _flush(self, key: Key) -> None:
        while True:
            with self._held.leaving(key) as batches:
                if not batches:
                    return
                self._statements.run(self._store_writes(key, batches))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that the config names, or its namespace's newest; None if there is none.

        Raises TypeNotAllowedError, DatabaseUnreachableError.
        """
        return self._statements.run(self._get(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """The matching checkpoints, newest first, read by pages. Errors as ``get_tuple``."""
        check_filter(self.serde, filter)
        listing = Listing(config, filter, before, limit)
        while (page := self._statements.run(self._page(listing))) is not None:
            yield from page

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """The writes that rebuild each DeltaChannel at that checkpoint, and the value they start from; one query."""
        return self._statements.run(self._history(config, channels))

    def delete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints, values and writes of the thread."""
        self._statements.run(self._delete_threads([thread_id]))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that the runs made, with what only they used. Reads the whole table.

        Those from which the DeltaChannels of a checkpoint that stays are rebuilt stay, too.
        """
        self._statements.run(self._delete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy the whole history of a thread to another id; what the target has already stays."""
        self._statements.run(self._copy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Keep only each namespace's latest checkpoint and what it needs, or ("delete") nothing.

        What it needs are, besides values and pending writes, the ancestors from which its DeltaChannels are
        rebuilt. A subgraph call goes with the root checkpoint that it started from. A run that appends to the
        thread meanwhile loses nothing. Raises ValueError for an unknown strategy.
        """
        self._statements.run(self._prune(thread_ids, strategy))
