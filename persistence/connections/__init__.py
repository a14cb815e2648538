"""Connections of the saver, ledger and effects beside Django's own: made from the alias's live settings.

Never used for a user's own queries, and never shared with Django's connections, except where a test
lends one (``lending``).
"""

from __future__ import annotations

from holdfast.persistence.connections.direct import Statement, run_in_savepoint, run_together
from holdfast.persistence.connections.opening import (
    Connection,
    connect,
    conninfo,
    guard_session,
    lift_time_limits,
    shares_sessions,
)
from holdfast.persistence.connections.orm import (
    close_django_connections,
    drop_dead_django_connections,
    is_lent,
    lending_django,
)
from holdfast.persistence.connections.outages import (
    Patience,
    aexecuting,
    aon_shared,
    has_idled,
    is_passing,
    retrying,
)
from holdfast.persistence.connections.pools import Pool, close_pools, lending, pool
from holdfast.persistence.connections.silence import hang_up, limit_waits, silent

__all__ = [
    "Connection",
    "Patience",
    "Pool",
    "Statement",
    "aexecuting",
    "aon_shared",
    "close_django_connections",
    "close_pools",
    "connect",
    "conninfo",
    "drop_dead_django_connections",
    "guard_session",
    "hang_up",
    "has_idled",
    "is_lent",
    "is_passing",
    "lending",
    "lending_django",
    "lift_time_limits",
    "limit_waits",
    "pool",
    "retrying",
    "run_in_savepoint",
    "run_together",
    "shares_sessions",
    "silent",
]
