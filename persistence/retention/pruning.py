"""The transactions of a prune, one a thread or a batch: lock, look again, delete (R20)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import class_row, dict_row

from holdfast import faults
from holdfast.conf import Retention, settings
from holdfast.errors import ConfigurationError, OutageError
from holdfast.persistence.backends.address import DJANGO, checked
from holdfast.persistence.backends.store import open_store
from holdfast.persistence.connections import Connection
from holdfast.persistence.retention.elsewhere import delete_elsewhere, thin_elsewhere
from holdfast.persistence.retention.history import thin_ended
from holdfast.persistence.retention.report import Progress, PruneReport
from holdfast.persistence.retention.thread_look import UNFENCED_QUIET, ThreadLook, checkpoint_time
from holdfast.persistence.saver.statements import Statements
from holdfast.persistence.saver.thinning import Thinned, older, thin
from holdfast.persistence.sql import query

logger = logging.getLogger("holdfast.retention")


class _RollBackError(Exception):
    """Ends the transaction of a dry run."""


class Pruning:
    """One prune: its connection, its policy, and what it has deleted so far."""

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
                thinned.append(
                    thin_ended(self.connection, settings().DATABASE, [thread_id], dry_run=self.dry_run)
                )
                if self.dry_run:
                    raise _RollBackError
            self._add(PruneReport(**thinned[0]._asdict()))

    def threads(self) -> None:
        """Threads that have expired, or grown too long, and runs that are older than the policy keeps."""
        for ids in self._pages(query("retention_threads")):
            for look in self._look(ids):
                if look.work(self.policy):
                    self._in_transaction(look.thread_id, look.written_at or look.now, self._prune_thread)

    def orphans(self) -> None:
        """Writes, values and rows that no checkpoint, thread or run belongs to."""
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
            faults.point("retention-before-commit")

    def _prune_thread(self, look: ThreadLook) -> PruneReport:
        if look.open_to_strangers:
            return PruneReport(skipped=1)
        kept_for_a_run = look.unfinished and look.expired(self.policy)
        report, thread = PruneReport(skipped=int(kept_for_a_run)), {"thread_id": look.thread_id}
        if look.has_old_runs(self.policy):
            report += self._delete(query("retention_delete_runs"), **thread, age=self.policy.run_age)
        if look.expired(self.policy) and not look.unfinished:
            if look.backend is not None and not self._delete_elsewhere(look, look.backend):
                return report + PruneReport(skipped=1)
            report += self._delete(query("thread_delete_checkpoints"), **thread) + PruneReport(threads=1)
            self.connection.execute(query("thread_drop"), thread)
            return report
        if look.backend is not None and self.policy.keep_last is not None:
            report += self._thin_elsewhere(look, look.backend)
        if look.too_long(self.policy):
            keep = self.policy.keep_last
            thinning = thin(look.thread_id, older(lambda run_id: keep), with_runs=True)
            thinned = self.statements.run(thinning)
            report += PruneReport(**thinned._asdict())
        return report

    def _thin_elsewhere(self, look: ThreadLook, backend: str) -> PruneReport:
        keep, thinned = self.policy.keep_last, None
        if backend not in self._without:
            try:
                thinned = thin_elsewhere(
                    self.connection,
                    look.thread_id,
                    backend,
                    lambda runs: lambda run_id: keep,
                    now=look.now,
                    dry_run=self.dry_run,
                )
            except OutageError as error:
                self._do_without(backend, error)
        return PruneReport(skipped=1) if thinned is None else PruneReport(**thinned._asdict())

    def _delete_elsewhere(self, look: ThreadLook, backend: str) -> bool:
        if backend in self._without:
            return False
        try:
            return delete_elsewhere(self.connection, look.thread_id, backend, dry_run=self.dry_run)
        except (OutageError, ConfigurationError, NotImplementedError) as error:
            self._do_without(backend, error)
            return False

    def _do_without(self, backend: str, error: Exception) -> None:
        logger.error("threads in %s stay until the next time: %s", backend, error)
        self._without.add(backend)

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
