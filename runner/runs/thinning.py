"""Deletes what ended runs were not to leave behind (``history=``), while the process does other things.

The sweep finds the threads; one thread of the process's does the work on the pool's connection, a short transaction
at a time, so that neither a heartbeat nor a run waits for a long history. It is begun when there is something to do.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Final

import psycopg

from holdfast.errors import ConfigurationError
from holdfast.per_process import PerProcess
from holdfast.persistence import ledger
from holdfast.persistence.connections import pool
from holdfast.persistence.ids import ThreadId
from holdfast.persistence.retention.history import thin_ended

logger = logging.getLogger("holdfast.retention")


class _Thinner:
    def __init__(self) -> None:
        self._due: Sequence[ThreadId] = ()
        self._wanted = threading.Event()
        threading.Thread(target=self._run, name="holdfast-thinning", daemon=True).start()

    def want(self, threads: Sequence[ThreadId]) -> None:
        """These next; what of earlier ones is not done yet is found again."""
        self._due = threads
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            for thread_id in self._due:
                thin_now(thread_id)


_thinner: Final = PerProcess(_Thinner)


def thin_later(threads: Sequence[ThreadId]) -> None:
    """Soon, on another thread."""
    if threads:
        _thinner().want(threads)


def thin_now(thread_id: ThreadId) -> None:
    """In this thread. What the database does not let happen now is found again by the next sweep, or by ``prune``."""
    try:
        with pool(ledger.alias()).connection() as connection:
            thin_ended(connection, ledger.alias(), [thread_id])
    except (psycopg.Error, ConfigurationError) as error:
        logger.warning("the history of thread %s is left for later: %s", thread_id, str(error).strip())
