"""The heartbeat's session: by it others know the process alive, also when it executes nothing (R9)."""

from __future__ import annotations

from django.db import connections

from holdfast.persistence.ledger.statements import alias, execute
from holdfast.persistence.records import Session


def open_session() -> Session:
    """Make Django's connection of this thread a heartbeat's; without pid where a pooler shares sessions.

    Such a session is not ours alone: only the expiry of leases decides then.
    """
    execute("session_plain_plans")
    (row,) = execute("session_heartbeat")
    if connections[alias()].connection.info.backend_pid != row["pid"]:
        return Session(pid=None, start=None)
    return Session(pid=row["pid"], start=row["backend_start"])


def beat_idly() -> None:
    """Show that the database answers, and that the process lives."""
    execute("session_alive")
