"""Thins out or deletes a thread whose checkpoints are in another backend, under the lock of its row here (P10, R20).

Two places are written, one after the other: what was deleted there and not noted here is looked for again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg.rows import class_row

from holdfast.errors import OutageError
from holdfast.persistence import codec
from holdfast.persistence.backends.address import of_name
from holdfast.persistence.backends.saver import open_saver
from holdfast.persistence.backends.thinning import Outline, outline_of, thin
from holdfast.persistence.connections import Connection
from holdfast.persistence.retention.thread_look import written_lately
from holdfast.persistence.saver.thinning import Thinned, older
from holdfast.persistence.sql import query

logger = logging.getLogger("holdfast.retention")


class Run(NamedTuple):
    """One run of the thread."""

    id: str
    graph: str
    version: str
    history: int | None
    ended: bool


Keep = Callable[[list[Run]], Callable[[str | None], int | None]]
"""From the thread's runs, how many root checkpoints stay of each one; None: all."""


def by_history(runs: list[Run]) -> Callable[[str | None], int | None]:
    """As the graph of each run was registered, once the run has ended."""
    limits: dict[str | None, int | None] = {run.id: run.history for run in runs if run.ended}
    return limits.get


def thin_elsewhere(
    connection: Connection, thread_id: str, backend: str, keep: Keep, *, now: datetime, dry_run: bool = False
) -> Thinned | None:
    """Thin the thread out there; None, and a line in the log, if that has to wait. Call it under the thread's lock.

    Raises OutageError, psycopg.Error.
    """
    if (address := _address(thread_id, backend)) is None:
        return None
    thread = {"thread_id": thread_id}
    connection.execute(query("retention_idle_limit"))
    runs = (
        psycopg.Cursor(connection, row_factory=class_row(Run))
        .execute(query("backend_runs"), thread)
        .fetchall()
    )
    try:
        saver = open_saver(address, allow=_types(runs))
        outline = outline_of(saver, thread_id)
        if _open_to_strangers(outline, runs, now):
            return None
        # Asked after the outline: a run that enters later than that begins on the newest checkpoint there.
        begun = psycopg.Cursor(connection).execute(query("thread_begun_on"), thread).fetchone()
        rule = older(keep(runs))
        return thin(saver, thread_id, outline, rule, begun=begun and begun[0], dry_run=dry_run)
    except OutageError:
        raise
    except Exception as error:  # noqa: BLE001 - each backend has its own errors, and the other threads are next
        logger.error("thread %s in %s keeps its history for now: %s", thread_id, backend, error)
        return None


def delete_elsewhere(connection: Connection, thread_id: str, backend: str, *, dry_run: bool = False) -> bool:
    """Delete the thread there; False, and a line in the log, if its backend is not known any more. Call it under its lock.

    What is deleted there is not rolled back with this transaction; the next prune does it again then.
    Raises OutageError, ConfigurationError, NotImplementedError, psycopg.Error.
    """
    if (address := _address(thread_id, backend)) is None:
        return False
    if not dry_run:
        connection.execute(query("retention_idle_limit"))
        open_saver(address).delete_thread(thread_id)
        connection.execute(query("backend_left"), {"thread_id": thread_id})
    return True


def _address(thread_id: str, backend: str) -> str | None:
    if (address := of_name(backend, "CHECKPOINTER")) is None:
        logger.warning(
            "thread %s keeps its checkpoints in %s, which neither HOLDFAST nor a graph names any more: it stays",
            thread_id,
            backend,
        )
    return address


def _types(runs: list[Run]) -> set[codec.Key]:
    return {key for graph in {(run.graph, run.version) for run in runs} for key in codec.types_of(*graph)}


def _open_to_strangers(outline: Outline, runs: list[Run], now: datetime) -> bool:
    """Whether somebody who locks nothing may have a checkpoint on the way."""
    newest = outline.newest
    if newest is None or newest.run_id in {run.id for run in runs}:
        return False
    return written_lately(newest.id, now)
