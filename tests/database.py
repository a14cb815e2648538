"""The suite's PostgreSQL: the one of the environment, the machine's, or the embedded one.

DATABASE_URL, then PGHOST, then 127.0.0.1:5432 if it answers; otherwise an embedded server is
started, and stopped at exit. Processes that a test starts inherit the choice.
"""

from __future__ import annotations

import atexit
import os
import socket
from typing import Any

from holdfast.persistence import embedded
from holdfast.runner.site.environment import database


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def choose() -> dict[str, Any]:
    """One entry of DATABASES."""
    if url := os.environ.get("DATABASE_URL"):
        return database(url)
    port = int(os.environ.get("PGPORT", "5432"))
    if not os.environ.get("PGHOST") and not _answers("127.0.0.1", port):
        holder = embedded.hold(embedded.home() / "test")
        os.environ["DATABASE_URL"] = holder.__enter__().url
        atexit.register(holder.__exit__, None, None, None)
        return database(os.environ["DATABASE_URL"])
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("PGDATABASE", "holdfast"),
        "HOST": os.environ.get("PGHOST", "127.0.0.1"),
        "PORT": str(port),
        "USER": os.environ.get("PGUSER", "postgres"),
        "PASSWORD": os.environ.get("PGPASSWORD", ""),
    }
