"""Deletes what nobody needs any more, and nothing else (P10, R20).

``prune`` goes through the threads, one short transaction each. It locks the thread's row, and skips
the thread where somebody has it; only then, in a second statement with a fresh snapshot, it looks
whether a run is unfinished or the thread is in use; then it deletes. Of a thread with an unfinished run
only old checkpoints and the rows of earlier runs may go, or a thread that is never idle would grow for ever:
``saver/thinning.py`` tells why no run misses them, though it may be writing at that moment. A process that
is killed on the way loses the one transaction, and the next prune goes on. A thread that a stock saver wrote
gets a row first; as such a writer locks nothing, a thread that was written without a fence within the last
hour is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import class_row, dict_row

from holdfast.conf import Retention, settings
from holdfast.errors import ConfigurationError, InvalidInputError, OutageError
from holdfast.persistence.backends.address import DJANGO, checked, of_name
from holdfast.persistence.backends.saver import GuardedSaver, open_saver
from holdfast.persistence.backends.store import open_store
from holdfast.persistence.connections import Connection, connect
from holdfast.persistence.history import thin_ended
from holdfast.persistence.saver.statements import Statements
from holdfast.persistence.saver.thinning import Thinned, older, thin
from holdfast.persistence.sql import query
from holdfast.persistence.thread_look import UNFENCED_QUIET, ThreadLook, checkpoint_time

logger = logging.getLogger("holdfast.retention")


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneReport:
    """How many rows were deleted, or would have been. Two can be added."""

    threads: int = 0
    """Threads whose checkpoints, or whose last remains, were deleted altogether."""
    checkpoints: int = 0
    writes: int = 0
    blobs: int = 0
    runs: int = 0
    effects: int = 0
    entries: int = 0
    steps: int = 0
    cancel_requests: int = 0
    cache_entries: int = 0
    store_items: int = 0
    skipped: int = 0
    """Threads that were due, but in use: nothing of them was deleted, or not the whole."""
    dry_run: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        """For a log: ``deleted 3 threads, 12 checkpoints``; what is 0 is left out."""
        sorts = [f.name for f in fields(self) if f.name not in {"skipped", "dry_run"}]
        counts = [f"{number} {name.replace('_', ' ')}" for name in sorts if (number := getattr(self, name))]
        told = f"{'would delete' if self.dry_run else 'deleted'} {', '.join(counts) or 'nothing'}"
        return f"{told}; threads in use, left for the next time: {self.skipped}" if self.skipped else told

    def __add__(self, other: PruneReport) -> PruneReport:
        numbers = {
            f.name: getattr(self, f.name) + getattr(other, f.name)
            for f in fields(self)
            if f.name != "dry_run"
        }
        return PruneReport(**numbers, dry_run=self.dry_run)


Progress = Callable[[PruneReport], None]


def prune(
    policy: Retention | None = None,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    using: str | None = None,
    cache_versions: Mapping[str, Collection[str]] | None = None,
) -> PruneReport:
    """Delete what the policy (default: ``HOLDFAST["RETENTION"]``) does not keep.

    ``dry_run`` does the same work and rolls every transaction back, so that its numbers are exact
    for each thread. ``progress`` is called with the numbers so far after each transaction that
    deleted something. ``cache_versions`` says by graph under which labels its cached values are looked for now; what
    lies under other labels of these graphs goes too. Safe to run beside itself and beside runs, and to kill.

    Raises InvalidInputError (``field``), psycopg.OperationalError if the database goes away: what was
    deleted until then stays deleted.
    """
    policy = policy or settings().RETENTION
    _check(policy)
    with connect(using or settings().DATABASE) as connection:
        pruning = _Pruning(connection, policy, dry_run, progress)
        pruning.histories()
        pruning.threads()
        if policy.orphans:
            pruning.orphans()
        if policy.cache:
            known = cache_versions or {}
            labels = [label for each in known.values() for label in each]
            pruning.batches(query("retention_delete_cache"), graphs=list(known), labels=labels)
        if policy.store:
            pruning.batches(query("retention_delete_store"))
            pruning.store_elsewhere()
    logger.info("%s", pruning.report)
    return pruning.report


class _RollBackError(Exception):
    """Ends the transaction of a dry run."""


class _Pruning:
    def __init__(
        self, connection: Connection, policy: Retention, dry_run: bool, progress: Progress | None
    ) -> None:
        self.connection = connection
        self.statements = Statements(settings().DATABASE, connection)
        self.policy = policy
        self.dry_run = dry_run
        self.progress = progress
        self.report = PruneReport(dry_run=dry_run)
        self._without: set[str] = set()  # backends that failed once, so that not each thread waits for them

    def histories(self) -> None:
        """What no worker has come to since its run ended."""
        rows = self.connection.execute(query("history_due"), {"limit": None}).fetchall()
        for (thread_id,) in rows:
            thinned: list[Thinned] = []
            with suppress(_RollBackError), self._transaction():
                thinned.append(thin_ended(self.connection, settings().DATABASE, [thread_id]))
                if self.dry_run:
                    raise _RollBackError
            self._add(PruneReport(**thinned[0]._asdict()))

    def threads(self) -> None:
        for ids in self._pages(query("retention_threads")):
            for look in self._look(ids):
                if look.work(self.policy):
                    self._in_transaction(look.thread_id, look.written_at or look.now, self._prune_thread)

    def orphans(self) -> None:
        for ids in self._pages(query("retention_orphaned_threads")):
            for look in self._look(ids):
                self._in_transaction(look.thread_id, look.now - UNFENCED_QUIET, self._delete_orphans)
        self.batches(query("retention_delete_strays"))

    def store_elsewhere(self) -> None:
        """Expired items of the store that the setting names, where LangGraph's has no better way than a sweep."""
        address = checked(None, "STORE")
        if address != DJANGO and not self.dry_run:
            self._add(PruneReport(store_items=open_store(address).sweep_ttl()))

    def batches(self, statement: LiteralString, **params: Any) -> None:
        """Repeat the statement, each time in a transaction of its own, until it deletes nothing."""
        while True:
            found: list[PruneReport] = []
            try:
                with self._transaction():
                    limit = None if self.dry_run else self.policy.batch
                    found.append(self._delete(statement, limit=limit, **params))
                    if self.dry_run:
                        raise _RollBackError
            except _RollBackError:
                pass
            self._add(found[0])
            if self.dry_run or found[0] == PruneReport():
                return

    def _in_transaction(
        self, thread_id: str, at: datetime, work: Callable[[ThreadLook], PruneReport]
    ) -> None:
        report = PruneReport(skipped=1)
        adopt = query("retention_adopt"), {"thread_id": thread_id, "at": at}
        try:
            if not self.dry_run:
                # Committed before it is locked: a row that its own transaction may delete again is
                # not there for another prune to skip.
                with self._transaction():
                    self.connection.execute(*adopt)
            with self._transaction():
                if self.dry_run:
                    self.connection.execute(*adopt)
                locked = self.connection.execute(
                    query("thread_lock_if_free"), {"thread_id": thread_id}
                ).fetchone()
                # A second statement: its snapshot is younger than the lock.
                (look,) = self._look([thread_id])
                if locked is not None:
                    report = work(look)
                elif look.created_at is None:
                    report = PruneReport()  # another prune has deleted it
                if self.dry_run:
                    raise _RollBackError
        except _RollBackError:
            pass
        except (psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable) as error:
            logger.info("thread %s is left for the next time: %s", thread_id, error)
            report = PruneReport(skipped=1)
        self._add(report)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One that waits for no lock for long."""
        with self.connection.transaction():
            timeout = f"{int(settings().LOCK_TIMEOUT * 1000)}ms"
            self.connection.execute(query("retention_lock_timeout"), {"ms": timeout})
            yield

    def _prune_thread(self, look: ThreadLook) -> PruneReport:
        if look.open_to_strangers:
            return PruneReport(skipped=1)
        kept_for_a_run = look.unfinished and look.expired(self.policy)
        report, thread = PruneReport(skipped=int(kept_for_a_run)), {"thread_id": look.thread_id}
        if look.has_old_runs(self.policy):
            report += self._delete(query("retention_delete_runs"), **thread, age=self.policy.run_age)
        if look.expired(self.policy) and not look.unfinished:
            if look.backend is not None and not self._elsewhere(look, GuardedSaver.delete_thread):
                return report + PruneReport(skipped=1)
            report += self._delete(query("thread_delete_checkpoints"), **thread) + PruneReport(threads=1)
            self.connection.execute(query("thread_drop"), thread)
        elif look.too_long_elsewhere(self.policy):
            self._elsewhere(look, GuardedSaver.keep_latest)
        elif look.too_long(self.policy):
            keep = self.policy.keep_last
            thinning = thin(look.thread_id, older(lambda run_id: keep), with_runs=True)
            thinned = self.statements.run(thinning)
            report += PruneReport(**thinned._asdict())
        return report

    def _elsewhere(self, look: ThreadLook, upkeep: Callable[[GuardedSaver, str], object]) -> bool:
        """Do that to a thread whose checkpoints are not in this database; False if its backend cannot be reached.

        What is deleted there is not rolled back with this transaction; the next prune does it again then.
        """
        address = of_name(look.backend or "", "CHECKPOINTER")
        if address is None:
            logger.warning(
                "thread %s keeps its checkpoints in %s, which neither HOLDFAST nor a graph names any more: it stays",
                look.thread_id,
                look.backend,
            )
            return False
        if address in self._without:
            return False
        if not self.dry_run:
            self.connection.execute(query("retention_idle_limit"))
            try:
                upkeep(open_saver(address), look.thread_id)
            except (OutageError, ConfigurationError, NotImplementedError) as error:
                logger.error("threads in %s stay until the next time: %s", look.backend, error)
                self._without.add(address)
                return False
            if upkeep is GuardedSaver.delete_thread:
                self.connection.execute(query("backend_left"), {"thread_id": look.thread_id})
        return True

    def _delete_orphans(self, look: ThreadLook) -> PruneReport:
        if look.in_use:
            return PruneReport(skipped=1)
        thread = {"thread_id": look.thread_id}
        rows = self.connection.execute(query("retention_orphaned_writes"), thread).fetchall()
        quiet = look.now - UNFENCED_QUIET
        old = [id_ for (id_,) in rows if (checkpoint_time(id_) or look.now) < quiet]
        report = self._delete(query("retention_delete_orphaned_writes"), **thread, checkpoint_ids=old)
        if look.newest is None and len(old) == len(rows):
            report += self._delete(query("thread_delete_unused_blobs"), **thread)
            self.connection.execute(query("thread_drop"), thread)
        return report

    def _look(self, ids: list[str]) -> list[ThreadLook]:
        with self.connection.cursor(row_factory=class_row(ThreadLook)) as cursor:
            return cursor.execute(query("retention_look"), {"ids": ids}).fetchall()

    def _pages(self, statement: LiteralString) -> Iterator[list[str]]:
        after = ""
        while True:
            params = {"after": after, "limit": self.policy.batch}
            ids = [id_ for (id_,) in self.connection.execute(statement, params).fetchall()]
            if not ids:
                return
            yield ids
            after = ids[-1]

    def _delete(self, statement: LiteralString, **params: Any) -> PruneReport:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(statement, params).fetchone()
        return PruneReport(**(row or {}))

    def _add(self, more: PruneReport) -> None:
        self.report = self.report + more
        if self.progress is not None and more != PruneReport():
            self.progress(self.report)


def _check(policy: Retention) -> None:
    for name, lowest in (("max_age", 0), ("run_age", 0), ("keep_last", 1), ("batch", 1)):
        value = getattr(policy, name)
        if value is None and name != "batch":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= lowest:
            raise InvalidInputError(
                f'HOLDFAST["RETENTION"]["{name}"] is {value!r}; it must be a number of at least {lowest}, or None.',
                field=name,
            )
