"""The saver's calls, written once for threads and for asyncio: what each asks the database, in which order.

Each is a generator of ``asking.Steps``. With a fence every put is refused once another attempt owns the run
(P2); without one it is a plain saver. What stands in a statement's parameters and rows is the business of the
modules beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import psycopg
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionProxy
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
from holdfast.conf import Commit, settings
from holdfast.errors import DatabaseUnreachableError
from holdfast.persistence.codec import codec
from holdfast.persistence.connections import Connection
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import thread_id_text
from holdfast.persistence.saver import delta
from holdfast.persistence.saver.asking import Ask, Steps, Wait, Written
from holdfast.persistence.saver.decoding import config_of, tuple_of
from holdfast.persistence.saver.encoding import (
    Batch,
    Key,
    Params,
    checkpoint_params,
    key_of,
    key_params,
    write_rows,
    writes_params,
)
from holdfast.persistence.saver.held import Held
from holdfast.persistence.saver.memory import Memory
from holdfast.persistence.saver.order import follow
from holdfast.persistence.saver.reading import Listing, get_params
from holdfast.persistence.saver.statements import Statements
from holdfast.persistence.saver.thinning import of_runs, older, thin
from holdfast.persistence.saver.usage import Usage
from holdfast.persistence.saver.versions import next_version
from holdfast.persistence.saver.writing import storing_checkpoint

STRATEGIES: Final = ("keep_latest", "delete")


class Calls(BaseCheckpointSaver[str]):
    """What DjangoSaver's sync and async methods do."""

    def __init__(
        self,
        *,
        using: str | None = None,
        serde: SerializerProtocol | None = None,
        fence: Fence | None = None,
        connection: Connection | BaseDatabaseWrapper | ConnectionProxy[Any] | None = None,
        commit: Commit | None = None,
    ) -> None:
        """``using``: the database alias, by default ``HOLDFAST["DATABASE"]``. Opens no connection.

        ``connection``: work on this one only, inside whatever transaction it has open, and repeat
        nothing; by default each call takes one from the process's pool. ``django.db.connection`` is Django's own of
        the thread that makes the saver; it is used on whatever thread LangGraph calls from, in turn. ``commit``: ``"relaxed"`` lets the
        checkpoints of a run be committed without waiting for the disk, by default ``HOLDFAST["COMMIT"]``;
        outside of a run, where nobody would notice what a crash has lost, it changes nothing. Raises
        ConfigurationError.
        """
        super().__init__(serde=serde or codec())
        if connection is not None and not isinstance(connection, psycopg.Connection):
            using = using or connection.alias
            connection = connections[connection.alias]  # this thread's: a proxy stands for another in each
        self.using = using or settings().DATABASE
        self.fence = fence
        self.usage = Usage()
        """What it has stored and asked so far."""
        self._relaxed = (commit or settings().COMMIT) == "relaxed" and connection is None
        self._statements = Statements(self.using, connection, self.usage)
        self._held = Held()  # shared by copies, as the fence is
        self._memory = Memory()

    def get_next_version(self, current: str | int | None, channel: None) -> str:
        """A version that sorts after ``current`` as text, in upstream's form."""
        return next_version(current)

    # --- writing

    def _put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
        after: Sequence[Written] = (),
    ) -> Steps[RunnableConfig]:
        params = checkpoint_params(self.serde, config, checkpoint, metadata, new_versions, self.usage.stored)
        if self.fence is None:
            # LangGraph waits for a step's checkpoint, but not for its pending writes: they must not be behind it.
            beside = self._held.stored_beside(
                (params["thread_id"], params["checkpoint_ns"], params["parent_id"])
            )
            if after or beside:
                yield Wait([*after, *beside])
            yield Ask("saver_put", params)
        else:
            ours = params["thread_id"] == self.fence.thread_id
            if ours:
                self._memory.begin(params["checkpoint_ns"])
            with storing_checkpoint(self.fence, self._held, params, after, relaxed=self._relaxed) as (
                fenced,
                before,
            ):
                if before:
                    yield Wait(before)
                yield from self._fenced(self.fence, "saver_put_fenced", fenced)
            if ours:
                self._memory.stored(params["checkpoint_ns"], params["checkpoint_id"])
        return config_of(params["thread_id"], params["checkpoint_ns"], params["checkpoint_id"])

    def _encoded(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> tuple[Key, Batch, bool]:
        """Where a task's writes belong, their rows, and whether those replace earlier ones and so may not wait."""
        key = key_of(config)
        rows, replace = write_rows(self.serde, key, task_id, writes)
        if self.fence is not None:
            self.fence.check_abandoned(task_id)
            faults.point("writes-before-commit")
        return key, Batch(task_id, task_path, rows), replace

    def _store_writes(self, key: Key, batches: Sequence[Batch], *, replace: bool = False) -> Steps[None]:
        params = {**key_params(key), **writes_params(batches), "replace": replace}
        if self.fence is None:
            yield Ask("saver_put_writes", params)
            return
        yield from self._fenced(self.fence, "saver_put_writes_fenced", params)
        if not replace:  # a question that is asked again is no progress
            self.fence.progressed = True
        faults.point("writes-after-commit")

    def _fenced(self, fence: Fence, name: str, params: Params) -> Steps[None]:
        """A statement under the fence. Raises LeaseLostError where another attempt owns the run (R2).

        Nothing is stored behind a hole: once a statement was given up, those that follow are refused as it was.
        """
        if fence.broken:
            raise DatabaseUnreachableError("An earlier write of this attempt was given up.", alias=self.using)
        params = params | fence.params
        try:
            with fence.committing(relaxed=bool(params.get("relaxed")), enter=bool(params.get("enter"))):
                rows = yield Ask(name, params)
                fence.check(rows[0][0])
        except DatabaseUnreachableError:
            fence.broken = True
            raise

    # --- reading

    def _get(self, config: RunnableConfig) -> Steps[CheckpointTuple | None]:
        params = get_params(config)
        ours = self.fence is not None and params["thread_id"] == self.fence.thread_id
        if ours and self._memory.is_empty(config["configurable"]):
            return None
        rows = yield Ask("saver_get", params)
        if not rows:
            return None
        found = tuple_of(self.serde, rows[0])
        follow(found.checkpoint["id"])
        if self.fence is not None and ours:
            self.fence.note_durable(params["checkpoint_ns"], found.checkpoint["id"])
        return found

    def _page(self, listing: Listing) -> Steps[Iterator[CheckpointTuple] | None]:
        """The next checkpoints of a list, to be decoded one by one; None at its end."""
        while (ask := listing.next_ask()) is not None:
            rows = yield ask
            if page := listing.take(ask, rows):
                return (tuple_of(self.serde, row) for row in page)
        return None

    def _history(
        self, config: RunnableConfig, channels: Sequence[str]
    ) -> Steps[Mapping[str, DeltaChannelHistory]]:
        if not channels:
            return {}
        params = get_params(config)
        rows = yield Ask("saver_delta_history", params | {"channels": list(channels)})
        return delta.histories(self.serde, params["checkpoint_ns"], channels, rows)

    # --- upkeep: none of it is fenced; whoever calls it sees to it that no run uses the thread

    def _delete_threads(self, thread_ids: Sequence[str]) -> Steps[None]:
        yield Ask(
            "saver_delete_threads", {"thread_ids": [thread_id_text(thread_id) for thread_id in thread_ids]}
        )

    def _delete_for_runs(self, run_ids: Sequence[str]) -> Steps[None]:
        _refuse_text("run_ids", run_ids)
        if runs := [str(run_id) for run_id in run_ids]:
            for (thread_id,) in (yield Ask("saver_threads_of_runs", {"run_ids": runs})):
                yield from thin(thread_id, of_runs(runs))

    def _copy_thread(self, source: str, target: str) -> Steps[None]:
        yield Ask("saver_copy_thread", {"source": thread_id_text(source), "target": thread_id_text(target)})

    def _prune(self, thread_ids: Sequence[str], strategy: str) -> Steps[None]:
        _refuse_text("thread_ids", thread_ids)
        if strategy not in STRATEGIES:
            raise ValueError(f"unknown prune strategy {strategy!r}; there are {', '.join(STRATEGIES)}")
        if strategy == "delete":
            yield from self._delete_threads(thread_ids)
            return
        for thread_id in thread_ids:
            yield from thin(thread_id_text(thread_id), older(lambda run_id: 1, heads=True))


def _refuse_text(name: str, given: Sequence[str]) -> None:
    if isinstance(given, str):
        raise TypeError(f"{name} is a sequence of ids, not a str")
