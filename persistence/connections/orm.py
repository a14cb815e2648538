"""Django's own connections in the threads of a worker: the dead ones are dropped, the idle ones closed."""

from __future__ import annotations

import select
from typing import Any

import psycopg
from django.db import connections


def drop_dead_django_connections() -> None:
    """Close this thread's Django connections that the server has ended, so that their next use opens new ones.

    Costs one look at a socket each: a healthy idle connection has nothing to read.
    """
    for wrapper in connections.all(initialized_only=True):
        raw = wrapper.connection
        if raw is None or wrapper.in_atomic_block:
            continue
        if getattr(raw, "closed", False) or (_has_news(raw) and not wrapper.is_usable()):
            wrapper.close()


def close_django_connections() -> None:
    """Close this thread's Django connections that have no transaction open."""
    for wrapper in connections.all(initialized_only=True):
        if not wrapper.in_atomic_block:
            wrapper.close()


def _has_news(raw: Any) -> bool:
    try:
        ready, _, _ = select.select([raw.fileno()], [], [], 0)
    except (psycopg.Error, ValueError, OSError):
        return True
    return bool(ready)
