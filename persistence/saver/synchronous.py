"""The saver's calls, each one statement.

It holds no lock and, between calls, no connection: parallel threads write in parallel, and whoever
iterates ``list`` may call anything else meanwhile. With a fence every put is refused once another
attempt owns the run (P2); without one it is a plain saver. What stands in a statement's parameters and
rows is the business of the modules beside it, which touch no database.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from holdfast import faults
from holdfast.conf import settings
from holdfast.persistence.codec import codec
from holdfast.persistence.connections import Connection
from holdfast.persistence.fence import Fence
from holdfast.persistence.saver.decoding import Row, config_of, tuple_of
from holdfast.persistence.saver.encoding import (
    Batch,
    Key,
    checkpoint_params,
    key_of,
    key_params,
    write_rows,
    writes_params,
)
from holdfast.persistence.saver.held import Held
from holdfast.persistence.saver.metadata import check_filter
from holdfast.persistence.saver.order import follow
from holdfast.persistence.saver.reading import Listing, get_params
from holdfast.persistence.saver.statements import Statements
from holdfast.persistence.saver.writing import storing_checkpoint


class SyncSaver(BaseCheckpointSaver[str]):
    """The synchronous half of DjangoSaver."""

    def __init__(
        self,
        *,
        using: str | None = None,
        serde: SerializerProtocol | None = None,
        fence: Fence | None = None,
        connection: Connection | None = None,
    ) -> None:
        """``using``: the database alias, by default ``HOLDFAST["DATABASE"]``. Opens no connection.

        ``connection``: work on this one only, inside whatever transaction it has open, and repeat
        nothing; by default each call takes one from the process's pool. Raises ConfigurationError.
        """
        super().__init__(serde=serde or codec())
        self.using = using or settings().DATABASE
        self.fence = fence
        self._statements = Statements(self.using, connection)
        self._held = Held(self._store_writes)  # shared by copies, as the fence is

    def get_next_version(self, current: str | int | None, channel: None) -> str:
        """A version that sorts after ``current`` as text, in upstream's form."""
        number = 0 if current is None else int(str(current).partition(".")[0])
        return f"{number + 1:032}.{random.random():016}"  # noqa: S311 - only tells forks apart

    # --- writing

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store the checkpoint; its config. Raises NotSerializableError, LeaseLostError, DatabaseUnreachableError."""
        params = checkpoint_params(self.serde, config, checkpoint, metadata, new_versions)
        if self.fence is None:
            self._statements.execute("saver_put", params)
        else:
            with storing_checkpoint(self.fence, self._held, params) as (fenced, before):
                for batch in before:
                    batch.stored.result()
                self._statements.fenced("saver_put_fenced", fenced, self.fence)
        return config_of(params["thread_id"], params["checkpoint_ns"], params["checkpoint_id"])

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store a task's writes; they may wait for a few milliseconds to go along with a checkpoint.

        Durable when it returns. Raises NotSerializableError, LeaseLostError, DatabaseUnreachableError.
        """
        self._put_writes(config, writes, task_id, task_path).stored.result()

    def put_writes_soon(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> Future[None]:
        """As ``put_writes``, without waiting: the future is done when they are durable, or has the error."""
        try:
            return self._put_writes(config, writes, task_id, task_path).stored
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the future is asked
            failed: Future[None] = Future()
            failed.set_exception(error)
            return failed

    def _put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> Batch:
        key = key_of(config)
        rows, replace = write_rows(self.serde, key, task_id, writes)
        batch = Batch(task_id, task_path, rows)
        if self.fence is not None:
            self.fence.check_abandoned(task_id)
            faults.point("writes-before-commit")
            if not replace:
                self._held.hold(key, batch)
                return batch
        self._store_writes(key, [batch], replace=replace)
        batch.stored.set_result(None)
        return batch

    def _store_writes(self, key: Key, batches: Sequence[Batch], *, replace: bool = False) -> None:
        params = {**key_params(key), **writes_params(batches), "replace": replace}
        if self.fence is None:
            self._statements.execute("saver_put_writes", params)
            return
        self._statements.fenced("saver_put_writes_fenced", params, self.fence)
        if not replace:  # a question that is asked again is no progress
            self.fence.progressed = True
        faults.point("writes-after-commit")

    # --- reading

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that the config names, or its namespace's newest; None if there is none.

        Raises TypeNotAllowedError, DatabaseUnreachableError.
        """
        params = get_params(config)
        rows = self._statements.rows("saver_get", params)
        if not rows:
            return None
        found = self._tuple(rows[0])
        follow(found.checkpoint["id"])
        if self.fence is not None and params["thread_id"] == self.fence.thread_id:
            self.fence.note_durable(params["checkpoint_ns"], found.checkpoint["id"])
        return found

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """The matching checkpoints, newest first, read by pages. Errors as ``get_tuple``."""
        for page in self._pages(config, filter, before, limit):
            yield from (self._tuple(row) for row in page)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """The writes that rebuild each DeltaChannel, by upstream's own two queries."""
        return self._statements.upstream(
            self.serde, lambda saver: saver.get_delta_channel_history(config=config, channels=channels)
        )

    # --- upkeep: none of it is fenced; whoever calls it sees to it that no run uses the thread

    def delete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints, values and writes of the thread."""
        self._statements.execute("thread_delete_checkpoints", {"thread_id": str(thread_id)})

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that the runs made, with what only they used. Reads the whole table."""
        if isinstance(run_ids, str):
            raise TypeError("run_ids is a sequence of run ids, not one str")
        if run_ids:
            self._statements.execute(
                "saver_delete_for_runs", {"run_ids": [str(run_id) for run_id in run_ids]}
            )

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy the whole history of a thread to another id; what the target has already stays."""
        self._statements.execute(
            "saver_copy_thread", {"source": str(source_thread_id), "target": str(target_thread_id)}
        )

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Keep only each namespace's latest checkpoint, or ("delete") nothing, by upstream's own statements.

        Raises NotImplementedError for threads with a DeltaChannel, ValueError for an unknown strategy.
        """
        self._statements.upstream(self.serde, lambda saver: saver.prune(thread_ids, strategy=strategy))

    def _pages(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Iterator[Sequence[Row]]:
        check_filter(self.serde, filter)
        listing = Listing(config, filter, before, limit)
        while (params := listing.next_page()) is not None:
            page = self._statements.rows("saver_list", params, prepare=False)
            listing.take(page, asked=params)
            if page:
                yield page

    def _tuple(self, row: Row) -> CheckpointTuple:
        found = tuple_of(self.serde, row)
        if found is None:  # an old format, which upstream knows how to bring up to date
            config = config_of(*row[:3])
            found = self._statements.upstream(self.serde, lambda saver: saver.get_tuple(config))
            assert found is not None, "a checkpoint vanished while it was read"
        return found
