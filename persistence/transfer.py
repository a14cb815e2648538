"""Copies checkpoints and store items from one backend to another: oldest first, read back, and where it stopped before.

A checkpoint goes as LangGraph gives it: values, versions, metadata, parent, pending writes, in its namespace. What is
there already and equal is not written again, so that a transfer that was stopped goes on, and one that is repeated
costs reading only. Nothing is deleted at the source. A thread that a run executes at the moment is left for the next
time; while one is copied, no run of it is claimed. Whose graph keeps its checkpoints at the target is noted there to
have moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import transaction
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.store.base import BaseStore, Item

from holdfast.errors import TransferError
from holdfast.persistence import ledger
from holdfast.persistence.backends.address import DJANGO, checked, shown
from holdfast.persistence.backends.saver import GuardedSaver, open_saver
from holdfast.persistence.backends.store import open_store
from holdfast.persistence.backends.threads import all_of, config_of, copy
from holdfast.persistence.codec import codec
from holdfast.persistence.codec.strict import Codec
from holdfast.persistence.ids import ThreadId
from holdfast.persistence.models.runs import RunStatus
from holdfast.persistence.saver import DjangoSaver
from holdfast.persistence.store import DjangoStore

PAGE: Final = 100
"""Store items that are read at once."""

Saver = BaseCheckpointSaver[Any]
HomeOf = Callable[[ThreadId], str]


@dataclass(kw_only=True)
class Report:
    """What was copied, or would have been, and what was there already."""

    threads: int = 0
    checkpoints: int = 0
    writes: int = 0
    """Pending writes of the copied checkpoints."""
    items: int = 0
    there: int = 0
    """Checkpoints and items that the target had already, and equal."""
    in_use: list[str] = field(default_factory=list)
    """Threads that a run executes at the moment: left for the next time."""
    dry_run: bool = False


Progress = Callable[[Report, int], None]
"""Called after each checkpoint and item with the report so far and the number of threads in all."""


def transfer(
    source: str,
    target: str,
    *,
    threads: Sequence[str] | None = None,
    checkpoints: bool = True,
    store: bool = True,
    dry_run: bool = False,
    allow: Iterable[Any] = (),
    home_of: HomeOf | None = None,
    progress: Progress = lambda report, threads: None,
) -> Report:
    """Copy ``threads`` (None: all of them, and with ``store`` the store's items, too).

    ``allow``: the (module, name) of types that are stored; ``home_of``: the address at which a thread's graph
    keeps its checkpoints. Raises TransferError where what was read back is not what was written;
    ConfigurationError, OutageError, TypeNotAllowedError.
    """
    report = Report(dry_run=dry_run)
    if source == target:
        raise TransferError(f"Source and target are the same: {shown(source)}.", place=shown(target))
    # Both stores first: one that is refused, or cannot be reached, is told before anything is copied.
    stores = (_store(source), _store(target)) if store and threads is None else None
    if checkpoints:
        _Threads(source, target, list(allow), home_of or _setting, report, progress).copy(threads)
    if stores is not None:
        _copy_store(*stores, report, progress)
    return report


class _Threads:
    """The checkpoints' half."""

    def __init__(
        self,
        source: str,
        target: str,
        allow: list[Any],
        home_of: HomeOf,
        report: Report,
        progress: Progress,
    ) -> None:
        self._addresses = source, target
        self._source, self._target = _saver(source, allow), _saver(target, allow)
        self._codec = codec(allow)
        self._home_of = home_of
        self._report = report
        self._progress = progress
        # Of some savers versions are numbers, of others texts that a number's comparison with is an error.
        self._counts_in_texts = isinstance(self._target.get_next_version(None, None), str)

    def copy(self, wanted: Sequence[str] | None) -> None:
        names = list(wanted) if wanted is not None else sorted(thread_ids(self._source))
        for name in names:
            self._thread(ThreadId(name), len(names))

    def _thread(self, thread_id: ThreadId, total: int) -> None:
        with transaction.atomic(using=ledger.alias()):
            ledger.lock_thread(thread_id)  # claims wait; a thread of no run has no row, and none is claimed
            holder = ledger.holder(thread_id)
            if holder is not None and holder.status is RunStatus.RUNNING:
                self._report.in_use.append(thread_id)
                return
            new = not any(
                True for _ in self._target.list({"configurable": {"thread_id": thread_id}}, limit=1)
            )
            for namespace, checkpoint_id in self._oldest_first(thread_id):
                self._checkpoint(config_of(thread_id, namespace, checkpoint_id), new=new)
                self._progress(self._report, total)
            target = self._addresses[1]
            if not self._report.dry_run and shown(self._home_of(thread_id)) == shown(target):
                ledger.note_backend(thread_id, None if target == DJANGO else shown(target))
        self._report.threads += 1
        self._progress(self._report, total)

    def _oldest_first(self, thread_id: str) -> list[tuple[str, str]]:
        """Namespace and id of each checkpoint; a parent is older than its children."""
        found = [
            (each.checkpoint["id"], each.config["configurable"].get("checkpoint_ns", ""))
            for each in all_of(self._source, thread_id)
        ]
        return [(namespace, checkpoint_id) for checkpoint_id, namespace in sorted(found)]

    def _checkpoint(self, place: RunnableConfig, *, new: bool) -> None:
        thread_id, checkpoint_id = place["configurable"]["thread_id"], place["configurable"]["checkpoint_id"]
        found = self._source.get_tuple(place)
        if found is None:  # deleted meanwhile, by retention
            return
        found = with_text_versions(found) if self._counts_in_texts else found
        there = None if new else self._target.get_tuple(place)
        if there is not None and not differences(found, there, self._codec):
            self._report.there += 1
            return
        self._report.checkpoints += 1
        self._report.writes += len(found.pending_writes or ())
        if self._report.dry_run:
            return
        copy(found, self._target, thread_id)
        there = self._target.get_tuple(place)
        unlike = ["all of it"] if there is None else differences(found, there, self._codec)
        if unlike:
            raise TransferError(
                f"Checkpoint {checkpoint_id} of thread {thread_id!r} was written to {shown(self._addresses[1])} and "
                f"read back otherwise: {', '.join(unlike)}.",
                place=shown(self._addresses[1]),
                thread_id=thread_id,
                checkpoint_id=checkpoint_id,
            )


def thread_ids(saver: Saver) -> set[str]:
    """The threads that have checkpoints there."""
    if isinstance(saver, GuardedSaver):
        return saver.threads()
    return set(ledger.threads_with_checkpoints())


def differences(one: CheckpointTuple, other: CheckpointTuple, serde: Codec) -> list[str]:
    """The parts in which two checkpoints differ; empty if they are equal."""
    parts = {
        **{name: (value, other.checkpoint.get(name)) for name, value in one.checkpoint.items()},
        "metadata": (one.metadata, other.metadata),
        "parent": (_parent(one), _parent(other)),
        "pending writes": (_writes(one, serde), _writes(other, serde)),
    }
    return [name for name, (here, there) in parts.items() if not _equal(here, there, serde)]


def with_text_versions(found: CheckpointTuple) -> CheckpointTuple:
    """With channel versions as texts that sort as the numbers do, if they are numbers."""
    versions, seen = found.checkpoint["channel_versions"], found.checkpoint["versions_seen"]
    checkpoint: Any = {
        **found.checkpoint,
        "channel_versions": _texts(versions),
        "versions_seen": {node: _texts(each) for node, each in seen.items()},
    }
    return found._replace(checkpoint=checkpoint)


def _texts(versions: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: f"{version:032}.{0:016}" if isinstance(version, int) else version
        for name, version in versions.items()
    }


def _parent(found: CheckpointTuple) -> str | None:
    parent: str | None = (found.parent_config or {}).get("configurable", {}).get("checkpoint_id")
    return parent


def _writes(found: CheckpointTuple, serde: Codec) -> list[tuple[str, str, Any]]:
    """In an order of our own: backends give them in theirs, and LangGraph applies them in that of its tasks."""
    writes = found.pending_writes or ()
    return sorted(writes, key=lambda write: (write[0], write[1], serde.encode(write[2], field="write")))


def _equal(one: Any, other: Any, serde: Codec) -> bool:
    try:
        if one == other:
            return True
    except (TypeError, ValueError):  # e.g. an array, which has no one answer
        pass
    return serde.encode(one, field="value") == serde.encode(other, field="value")


def _copy_store(source: BaseStore, target: BaseStore, report: Report, progress: Progress) -> None:
    for item in _items(source):
        there = target.get(item.namespace, item.key, refresh_ttl=False)
        if there is not None and there.value == item.value:
            report.there += 1
        else:
            report.items += 1
            if not report.dry_run:
                _copy_item(item, target)
        progress(report, report.threads)


def _copy_item(item: Item, target: BaseStore) -> None:
    target.put(item.namespace, item.key, item.value)
    there = target.get(item.namespace, item.key, refresh_ttl=False)
    if there is None or there.value != item.value:
        raise TransferError(
            f"The store's item {'/'.join(item.namespace)} {item.key!r} was written and read back otherwise.",
            place="/".join(item.namespace),
        )


def _items(store: BaseStore) -> Iterator[Item]:
    offset = 0
    while found := store.search((), limit=PAGE, offset=offset, refresh_ttl=False):
        yield from found
        offset += len(found)


def _saver(address: str, allow: list[Any]) -> Saver:
    if checked(address, "CHECKPOINTER") == DJANGO:
        return DjangoSaver(serde=codec(allow))
    return open_saver(address, allow=allow)


def _store(address: str) -> BaseStore:
    return DjangoStore() if checked(address, "STORE") == DJANGO else open_store(address)


def _setting(thread_id: ThreadId) -> str:
    return checked(None, "CHECKPOINTER")
