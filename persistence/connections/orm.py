"""Django's own connections in the threads of a worker: the dead ones are dropped, the idle ones closed."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from holdfast.persistence.connections.pools import lending

# Django's connections that a test has lent, by alias, for the threads of the graph it executes.
_lent: dict[str, BaseDatabaseWrapper] = {}


@contextmanager
def lending_django(wrapper: BaseDatabaseWrapper) -> Iterator[None]:
    """As ``lending``, with Django's own connection, which nodes and tasks then use on every thread.

    Statements of several threads take turns; transactions of nodes that run in parallel are not parted.
    """
    wrapper.inc_thread_sharing()
    _lent[wrapper.alias] = wrapper
    try:
        with lending(wrapper.alias, wrapper.connection):
            yield
    finally:
        del _lent[wrapper.alias]
        wrapper.dec_thread_sharing()


def is_lent(wrapper: BaseDatabaseWrapper) -> bool:
    """Whether this is a test's own connection, whose open transaction is meant to stay open."""
    return _lent.get(wrapper.alias) is wrapper


def drop_dead_django_connections() -> None:
    """Close this thread's Django connections that the server has ended, so that their next use opens new ones.

    Costs one look at a socket each: a healthy idle connection has nothing to read. A connection that is
    lent takes the place of the thread's own.
    """
    for alias, lent in _lent.items():
        connections[alias] = lent
    for wrapper in connections.all(initialized_only=True):
        raw = wrapper.connection
        if raw is None or wrapper.in_atomic_block:
            continue
        if getattr(raw, "closed", False) or (_has_news(raw) and not wrapper.is_usable()):
            wrapper.close()


def close_django_connections() -> None:
    """Close this thread's Django connections that have no transaction open, and return those that are lent."""
    for wrapper in connections.all(initialized_only=True):
        if is_lent(wrapper):
            del connections[wrapper.alias]
        elif not wrapper.in_atomic_block:
            wrapper.close()


def _has_news(raw: Any) -> bool:
    try:
        ready, _, _ = select.select([raw.fileno()], [], [], 0)
    except (psycopg.Error, ValueError, OSError):
        return True
    return bool(ready)
