"""``GuardedSaver``: any saver of LangGraph's, in the name of a run, or of nobody.

It asks the lease before each write and tells of it afterwards, and repeats what failed over a lost connection. What
it stores passes through the strict codec (P12).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from holdfast import faults
from holdfast.errors import HistoryUnsupportedError, OutageError
from holdfast.persistence.backends.address import shown
from holdfast.persistence.backends.lease import Lease
from holdfast.persistence.backends.on_threads import OnThreads
from holdfast.persistence.backends.opening import Opened, opened, patiently
from holdfast.persistence.backends.sealed import SealedSaver
from holdfast.persistence.codec import codec
from holdfast.persistence.codec.strict import Codec
from holdfast.persistence.fence import Fence
from holdfast.persistence.saver.encoding import replaces
from holdfast.persistence.saver.thinning import CheckpointKey
from holdfast.persistence.saver.versions import next_version

T = TypeVar("T")


def open_saver(address: str, *, fence: Fence | None = None, allow: Iterable[Any] = ()) -> GuardedSaver:
    """The saver at an address other than ``django``; ``allow``: (module, name) of types that it may store besides.

    ``fence``: the run in whose name it writes. Raises ConfigurationError, OutageError.
    """
    return GuardedSaver(opened("CHECKPOINTER", address), address, serde=codec(allow), fence=fence)


class GuardedSaver(OnThreads):
    """Upstream's saver behind a lease. May be copied, and shared by threads and event loops."""

    def __init__(self, backend: Opened, address: str, *, serde: Codec, fence: Fence | None = None) -> None:
        super().__init__(serde=serde)
        self.address = address
        self.where = shown(address)
        self.ordered = backend.ordered
        self._lease = None if fence is None else Lease(fence, self.where)
        self._is_passing = backend.is_passing
        self._threads = backend.threads
        self._delete = backend.delete
        self._inner = _with_serde(backend, serde)

    def get_next_version(self, current: Any, channel: None) -> Any:
        """As the backend has it, in the form that the thread has: it may have come from another backend."""
        if isinstance(current, int):
            return current + 1
        if current is not None and isinstance(self._inner.get_next_version(None, None), int):
            return next_version(current)
        return self._inner.get_next_version(current, channel)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> GuardedSaver:
        """The same saver, which may store and read these types too."""
        wider = copy.copy(self)
        wider._inner = self._inner.with_allowlist(extra_allowlist)
        wider.serde = wider._inner.serde
        return wider

    # --- writing

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store the checkpoint; its config. Raises LeaseLostError, OutageError, NotSerializableError, GraphDrained."""
        store = partial(self._inner.put, config, checkpoint, metadata, new_versions)
        if self._lease is None:
            return self._do(store)
        fence, namespace = self._lease.fence, config["configurable"].get("checkpoint_ns", "")
        fence.check_abandoned()
        # A subgraph, or another thread that a node writes to, is not the run's own input.
        enter = (
            not fence.entered and namespace == "" and config["configurable"]["thread_id"] == fence.thread_id
        )
        if enter:
            faults.point("input-before-first-checkpoint")
        faults.point("checkpoint-before-commit")
        self._lease.check()
        stored = self._do(store)
        faults.point("backend-before-note")
        self._lease.note(checkpoint_id=checkpoint["id"] if enter else None)
        fence.note_durable(namespace, checkpoint["id"])
        faults.point("checkpoint-after-commit")
        return stored

    def put_after(
        self,
        writes: Sequence[Future[None]],
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """As ``put``, once these writes are stored, and not if one has failed."""
        for write in writes:
            write.result()
        return self.put(config, checkpoint, metadata, new_versions)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store a task's writes. Raises as ``put``."""
        store = partial(self._inner.put_writes, config, writes, task_id, task_path)
        if self._lease is None:
            self._do(store)
            return
        self._lease.fence.check_abandoned(task_id)
        faults.point("writes-before-commit")
        self._lease.check()
        self._do(store)
        if not replaces(writes):  # a question that is asked again is no progress
            self._lease.note()
        faults.point("writes-after-commit")

    def put_writes_soon(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> Future[None]:
        """As ``put_writes``, in this thread; the future has the error."""
        stored: Future[None] = Future()
        try:
            self.put_writes(config, writes, task_id, task_path)
            stored.set_result(None)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the future is asked
            stored.set_exception(error)
        return stored

    def enter_if_begun(self) -> None:
        """Note that the run's input has been applied, if its attempt before died between storing and noting that (R5)."""
        if self._lease is None or self._lease.fence.entered:
            return
        fence = self._lease.fence
        found = self.get_tuple({"configurable": {"thread_id": fence.thread_id, "checkpoint_ns": ""}})
        if found is not None and found.metadata.get("run_id") == str(fence.run_id):
            self._lease.note(checkpoint_id=found.checkpoint["id"])

    # --- reading

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that the config names, or its namespace's newest; None if there is none.

        Raises TypeNotAllowedError, OutageError.
        """
        found = self._do(partial(self._inner.get_tuple, config))
        if found is not None and self._lease is not None:
            configurable = found.config["configurable"]
            if configurable["thread_id"] == self._lease.fence.thread_id:
                self._lease.fence.note_durable(configurable.get("checkpoint_ns", ""), found.checkpoint["id"])
        return found

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """The matching checkpoints, newest first. All are read before the first is given: some savers hold a lock."""
        yield from self._do(lambda: [*self._inner.list(config, filter=filter, before=before, limit=limit)])

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """The writes that rebuild each DeltaChannel at that checkpoint."""
        return self._do(partial(self._inner.get_delta_channel_history, config=config, channels=channels))

    def threads(self) -> set[str]:
        """The threads that have checkpoints there."""
        if self._threads is not None:
            return set(self._do(self._threads))
        return {each.config["configurable"]["thread_id"] for each in self.list(None)}

    # --- upkeep: not fenced; whoever calls it sees to it that no run uses the thread

    def delete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints and writes of the thread."""
        self._do(partial(self._inner.delete_thread, thread_id))

    def delete(self, thread_id: str, keys: Collection[CheckpointKey]) -> None:
        """Delete these checkpoints with their writes. Raises HistoryUnsupportedError where the saver cannot."""
        delete = self._delete
        if delete is None:
            raise HistoryUnsupportedError(
                f"{self.where} cannot delete single checkpoints: its saver has no delete_checkpoints().",
                setting="CHECKPOINTER",
            )
        self._do(lambda: delete(thread_id, keys))

    def check_history(self, history: int | None) -> None:
        """Raise HistoryUnsupportedError if not that many checkpoints of a run could be left; None: all of them."""
        if history is not None and self._delete is None:
            raise HistoryUnsupportedError(
                f"history= cannot be kept in {self.where}: its saver has no "
                'delete_checkpoints(thread_id, checkpoints). Write one, or register the graph with history="all".',
                setting="CHECKPOINTER",
            )

    def _do(self, call: Callable[[], T]) -> T:
        try:
            return patiently(call, self._is_passing, self.where)
        except OutageError:
            if self._lease is not None:
                self._lease.fence.broken = True
            raise


def _with_serde(backend: Opened, serde: Codec) -> BaseCheckpointSaver[Any]:
    """The saver with our serializer in place of a stock one; one of the project's own stays."""
    if backend.sealed or (backend.inline and serde.encrypts):
        return SealedSaver(backend.value, serde)
    inner: BaseCheckpointSaver[Any] = backend.value
    if type(inner.serde) is not JsonPlusSerializer and not isinstance(inner.serde, Codec):
        return inner
    with_codec = copy.copy(inner)
    with_codec.serde = serde
    return with_codec
