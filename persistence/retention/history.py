"""Of a run that has ended only so many checkpoints stay as its graph was registered with (``history=``; P10, R20).

A root checkpoint goes once it is not among the thread's newest ``history`` of the run that made it; what the others
need stays (``saver/thinning.py``), and so does all that unfinished runs and strangers have made. One short
transaction a thread, under its lock: nobody is waited for, and a thread that somebody has, or that was written
without a fence lately, is left for later. Whoever is killed on the way has done nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from holdfast.errors import OutageError
from holdfast.persistence.connections import Connection
from holdfast.persistence.ids import ThreadId
from holdfast.persistence.retention.elsewhere import by_history, thin_elsewhere
from holdfast.persistence.retention.thread_look import written_lately
from holdfast.persistence.saver.statements import Statements
from holdfast.persistence.saver.thinning import Thinned, older, thin
from holdfast.persistence.sql import query

logger = logging.getLogger("holdfast.retention")

LATER: Final = 300.0
"""Seconds until a thread is looked at again that somebody has written to without a fence lately."""


class _Look(NamedTuple):
    now: datetime
    newest: str | None
    fenced: bool
    backend: str | None
    due: list[UUID]

    @property
    def open_to_strangers(self) -> bool:
        """Whether somebody who locks nothing may have a checkpoint on the way."""
        return not self.fenced and self.newest is not None and written_lately(self.newest, self.now)


def thin_ended(
    connection: Connection, alias: str, threads: Iterable[ThreadId], *, dry_run: bool = False
) -> Thinned:
    """Thin the threads out, a transaction each; how many rows went. Raises psycopg.OperationalError.

    ``dry_run``: what cannot be rolled back, since it is elsewhere, is only counted.
    """
    total = Thinned()
    for thread_id in threads:
        try:
            with connection.transaction():
                gone = _thin(connection, alias, thread_id, dry_run)
        except (psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable) as error:
            logger.info("thread %s is left for the next time: %s", thread_id, error)
            continue
        if any(gone):
            logger.debug("thread %s was thinned out: %s", thread_id, gone)
        total = Thinned(*map(sum, zip(total, gone, strict=True)))
    return total


def _thin(connection: Connection, alias: str, thread_id: ThreadId, dry_run: bool) -> Thinned:
    thread = {"thread_id": thread_id}
    if psycopg.Cursor(connection).execute(query("thread_lock_if_free"), thread).fetchone() is None:
        return Thinned()
    # A second statement: its snapshot is younger than the lock.
    look = (
        psycopg.Cursor(connection, row_factory=class_row(_Look))
        .execute(query("history_look"), thread)
        .fetchone()
    )
    if look is None or not look.due:
        return Thinned()
    runs = {"run_ids": look.due}
    if look.open_to_strangers:
        psycopg.Cursor(connection).execute(query("history_later"), runs | {"seconds": LATER})
        return Thinned()
    if look.backend is not None:
        gone = None
        with suppress(OutageError):  # which the log has had already, line by line
            gone = thin_elsewhere(
                connection, thread_id, look.backend, by_history, now=look.now, dry_run=dry_run
            )
        if gone is None:
            psycopg.Cursor(connection).execute(query("history_later"), runs | {"seconds": LATER})
            return Thinned()
        psycopg.Cursor(connection).execute(query("history_done"), runs)
        return gone
    limits: dict[str | None, int] = dict(
        psycopg.Cursor(connection).execute(query("history_limits"), thread).fetchall()
    )
    gone = Statements(alias, connection).run(thin(thread_id, older(limits.get), with_runs=True))
    psycopg.Cursor(connection).execute(query("history_done"), runs)
    return gone
