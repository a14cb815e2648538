"""Copies checkpoints and store items from one backend to another: oldest first, read back, and where it stopped before.

A checkpoint goes as LangGraph gives it: values, versions, metadata, parent, pending writes, in its namespace. What is
there already and equal is not written again, so that a transfer that was stopped goes on, and one that is repeated
costs reading only. Nothing is deleted at the source. A thread that a run executes at the moment is left for the next
time; while one is copied, no run of it is claimed. Whose graph keeps its checkpoints at the target is noted there to
have moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from holdfast.errors import TransferError
from holdfast.persistence.backends.address import shown
from holdfast.persistence.transfer.checkpoints import HomeOf, Threads, home_by_setting
from holdfast.persistence.transfer.comparing import differences
from holdfast.persistence.transfer.items import copy_store, open_either
from holdfast.persistence.transfer.report import Progress, Report

__all__ = ["HomeOf", "Progress", "Report", "differences", "transfer"]


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
    stores = (open_either(source), open_either(target)) if store and threads is None else None
    if checkpoints:
        Threads(source, target, list(allow), home_of or home_by_setting, report, progress).copy(threads)
    if stores is not None:
        copy_store(*stores, report, progress)
    return report
