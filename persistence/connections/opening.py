"""Opens connections to an alias as it is configured at the moment, with the limits of R11.

Never shares one with Django, and never keeps one: that is the pool's part.
"""

from __future__ import annotations

import logging
from typing import Any, Final, Protocol

import psycopg
from django.db import connections

from holdfast.conf import settings
from holdfast.errors import ConfigurationError
from holdfast.persistence import arrays
from holdfast.persistence.sql import query

logger = logging.getLogger("holdfast.connections")

Connection = psycopg.Connection[Any]

_told: Final[set[str]] = set()


class _HasCursor(Protocol):
    def cursor(self) -> Any: ...


def conninfo(alias: str) -> dict[str, Any]:
    """psycopg's connect arguments for the alias as it is configured now (test databases included).

    Raises ConfigurationError when the alias is unknown or not PostgreSQL.
    """
    if alias not in connections:
        raise ConfigurationError(
            f'HOLDFAST["DATABASE"] is {alias!r}, and DATABASES has no such alias.', setting="DATABASE"
        )
    wrapper = connections[alias]
    if wrapper.vendor != "postgresql":
        raise ConfigurationError(
            f"The database {alias!r} is {wrapper.vendor}; Holdfast needs PostgreSQL.", setting="DATABASE"
        )
    params: dict[str, Any] = dict(wrapper.get_connection_params())
    for django_only in ("cursor_factory", "context", "prepare_threshold"):
        params.pop(django_only, None)
    options = wrapper.settings_dict["OPTIONS"]
    if "prepare_threshold" in options:
        params["prepare_threshold"] = options["prepare_threshold"]
    elif shares_sessions(alias):
        params["prepare_threshold"] = None
    else:
        params["prepare_threshold"] = 0
    lease = settings().LEASE
    params.setdefault("application_name", "holdfast")
    params.setdefault("connect_timeout", max(2, int(lease / 3)))
    params.setdefault("tcp_user_timeout", int(lease * 1000))
    return params


def shares_sessions(alias: str) -> bool:
    """Whether a pooler such as PgBouncer gives a session to others after each transaction.

    Django is told so by ``DISABLE_SERVER_SIDE_CURSORS``. Then nothing may be prepared, or set, beyond a transaction.
    """
    return bool(connections[alias].settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"))


def connect(alias: str, **kw: Any) -> Connection:
    """One new autocommit connection with the limits of R11. Raises psycopg.OperationalError, ConfigurationError."""
    connection = psycopg.connect(**{**conninfo(alias), "autocommit": True, **kw})
    try:
        arrays.register(connection)
        role = connections[alias].settings_dict["OPTIONS"].get("assume_role")
        if shares_sessions(alias):
            _check_shared(alias, connection, role)
        else:
            if role:
                connection.execute(query("session_assume_role"), {"role": role})
            guard_session(connection)
            lift_time_limits(connection)
            connection.execute(query("session_plain_plans"))
    except BaseException:  # whatever it was, the connection is not left open
        connection.close()
        raise
    return connection


def _check_shared(alias: str, connection: Connection, role: str | None) -> None:
    """What cannot be set in a shared session has to be so already, for the role or the database."""
    if role:
        raise ConfigurationError(
            f"The database {alias!r} is reached through a pooler (DISABLE_SERVER_SIDE_CURSORS), which would hand its "
            "assume_role on to others. Connect as that role.",
            setting="DATABASE",
        )
    isolation, idle = connection.execute(query("session_defaults")).fetchall()[0]
    if isolation != "read committed":
        raise ConfigurationError(
            f"The database {alias!r} is reached through a pooler and begins transactions as {isolation}, Holdfast's "
            "fences need READ COMMITTED: ALTER ROLE … SET default_transaction_isolation = 'read committed'.",
            setting="DATABASE",
        )
    if idle == "0" and alias not in _told:
        _told.add(alias)
        logger.warning(
            "The database %r is reached through a pooler, where no limit can be set: a process that freezes in a "
            "transaction holds its locks. ALTER ROLE … SET idle_in_transaction_session_timeout = '%ds'",
            alias,
            settings().IDLE_IN_TRANSACTION,
        )


def guard_session(connection: _HasCursor) -> None:
    """Limit what a frozen process can hold (R11), and make READ COMMITTED the default (R2).

    Takes psycopg's and Django's connections. An open transaction that is rolled back undoes it.
    """
    limits = settings()
    with connection.cursor() as cursor:
        cursor.execute(
            query("session_guard"),
            {
                "idle": f"{int(limits.IDLE_IN_TRANSACTION * 1000)}ms",
                "check": f"{int(limits.LEASE * 1000 / 3)}ms",
            },
        )


def lift_time_limits(connection: _HasCursor) -> None:
    """Let no limit of the role's or the alias's end a statement of ours. Takes psycopg's and Django's connections."""
    with connection.cursor() as cursor:
        cursor.execute(query("session_no_time_limits"))
