"""Outages: which errors pass by themselves, and how long and how often something is tried again (R3)."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from psycopg import errors as pg

from holdfast.conf import settings
from holdfast.errors import DatabaseUnreachableError
from holdfast.persistence.connections.opening import Connection
from holdfast.persistence.connections.pools import pool

logger = logging.getLogger("holdfast.connections")

T = TypeVar("T")

# The server is gone, going, not ready, full, or no longer the primary: another attempt may succeed.
_PASSING_STATES = frozenset({"57P01", "57P02", "57P03", "57P05", "53300", "25006", "40P01", "40001"})
_FIRST_PAUSE = 0.02  # seconds
_LONGEST_PAUSE = 0.5  # seconds


def is_passing(error: BaseException) -> bool:
    """Whether the error is the connection's or the server's, so that the statement may be repeated."""
    if isinstance(error, pg.InterfaceError):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state.startswith("08") or state in _PASSING_STATES


class Patience:
    """The pauses between the attempts at one thing, each longer than the last, for a limited time.

    The time begins with the first failure, not with the work, which may be long.
    """

    def __init__(self, seconds: float | None = None) -> None:
        """``seconds``: how long to go on after the first failure; by default LEASE."""
        self.seconds = settings().LEASE if seconds is None else seconds
        self._pause = _FIRST_PAUSE
        self._deadline: float | None = None

    def wait(self) -> bool:
        """Pause; False at once if the time is over."""
        now = time.monotonic()
        self._deadline = self._deadline or now + self.seconds
        if now + self._pause > self._deadline:
            return False
        spread = random.uniform(0.7, 1.3)  # noqa: S311 - spreads retries, guards nothing
        time.sleep(self._pause * spread)  # no event tells of a server's return
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        return True


def retrying(alias: str, work: Callable[[Connection], T], *, seconds: float | None = None) -> T:
    """Do the work on a pooled connection; repeat it on connection errors for ``seconds`` (default: LEASE).

    The work must be safe to repeat after a commit whose outcome is not known (R3), as upserts are. On a
    lent connection nothing is repeated, as its transaction is lost with it. Raises
    DatabaseUnreachableError when the time is over; other errors at once.
    """
    patience = Patience(seconds)
    while True:
        try:
            with pool(alias).connection() as connection:
                try:
                    return work(connection)
                except psycopg.Error as error:
                    if is_passing(error) and pool(alias).lent is None:
                        connection.close()
                    raise
        except psycopg.Error as error:
            if not is_passing(error):
                raise
            logger.warning("database %r: %s", alias, str(error).strip())
            pool(alias).drop_idle()
            if pool(alias).lent is not None or not patience.wait():
                raise DatabaseUnreachableError(
                    f"The database {alias!r} did not answer for {patience.seconds:g} s: {str(error).strip()}",
                    alias=alias,
                ) from error
