"""The checkpoints' half: a thread after the other, oldest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db import transaction
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver

from holdfast.errors import TransferError
from holdfast.persistence import ledger
from holdfast.persistence.backends.address import DJANGO, checked, shown
from holdfast.persistence.backends.saver import GuardedSaver, open_saver
from holdfast.persistence.backends.threads import all_of, config_of, copy
from holdfast.persistence.codec import codec
from holdfast.persistence.ids import ThreadId
from holdfast.persistence.models.runs import RunStatus
from holdfast.persistence.saver import DjangoSaver
from holdfast.persistence.saver.thinning import CheckpointKey
from holdfast.persistence.transfer.comparing import differences, parent_of, with_text_versions
from holdfast.persistence.transfer.report import Progress, Report

Saver = BaseCheckpointSaver[Any]
HomeOf = Callable[[ThreadId], str]


class Threads:
    """Those of one source, on their way to one target."""

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

    def _oldest_first(self, thread_id: str) -> list[CheckpointKey]:
        """Each checkpoint's key; a parent is older than its children. Raises TransferError."""
        found: set[CheckpointKey] = set()
        parents: set[CheckpointKey] = set()
        for each in all_of(self._source, thread_id):
            namespace = each.config["configurable"].get("checkpoint_ns", "")
            found.add((namespace, each.checkpoint["id"]))
            if (parent := parent_of(each)) is not None:
                parents.add((namespace, parent))
        for key in parents - found:
            # It was deleted, or the list ends before it: Redis gives 10,000 at most.
            if self._source.get_tuple(config_of(thread_id, *key)) is not None:
                raise TransferError(
                    f"{shown(self._addresses[0])} lists only a part of thread {thread_id!r}, which has {len(found)} "
                    "checkpoints and more. Thin the thread out there first: keep_last of RETENTION.",
                    place=shown(self._addresses[0]),
                    thread_id=thread_id,
                    checkpoint_id=key[1],
                )
        return sorted(found, key=lambda key: key[::-1])

    def _checkpoint(self, config: RunnableConfig, *, new: bool) -> None:
        configurable = config["configurable"]
        thread_id, checkpoint_id = configurable["thread_id"], configurable["checkpoint_id"]
        found = self._source.get_tuple(config)
        if found is None:  # deleted meanwhile, by retention
            return
        found = with_text_versions(found) if self._counts_in_texts else found
        there = None if new else self._target.get_tuple(config)
        if there is not None and not differences(found, there, self._codec):
            self._report.there += 1
            return
        self._report.checkpoints += 1
        self._report.writes += len(found.pending_writes or ())
        if self._report.dry_run:
            return
        copy(found, self._target, thread_id)
        there = self._target.get_tuple(config)
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


def _saver(address: str, allow: list[Any]) -> Saver:
    if checked(address, "CHECKPOINTER") == DJANGO:
        return DjangoSaver(serde=codec(allow))
    return open_saver(address, allow=allow)


def home_by_setting(thread_id: ThreadId) -> str:
    """Where a thread's checkpoints are if no graph says otherwise."""
    return checked(None, "CHECKPOINTER")
