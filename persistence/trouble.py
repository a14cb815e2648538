"""What the database's own errors mean to a person: it is not there, does not answer, or is not migrated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections
from django.utils.connection import ConnectionDoesNotExist

from holdfast.conf import settings
from holdfast.errors import ConfigurationError, DatabaseUnreachableError, HoldfastError, NotMigratedError
from holdfast.persistence.connections import is_passing

_MISSING: Final = {"42P01", "42703", "42883"}  # undefined table, column, function
_TAKES_NO_WRITES: Final = {"25006", "53100"}  # a standby, or read only; no space left


@contextmanager
def told() -> Iterator[None]:
    """Raises DatabaseUnreachableError, NotMigratedError or ConfigurationError for what means that; others as they are.

    Inside a transaction of the caller's a lost connection is the caller's own error and stays Django's.
    """
    try:
        yield
    except (DatabaseError, InterfaceError, ConnectionDoesNotExist, psycopg.Error) as error:
        meaning = explain(error)
        if meaning is None or (
            isinstance(meaning, DatabaseUnreachableError) and connections[settings().DATABASE].in_atomic_block
        ):
            raise
        if isinstance(meaning, ConfigurationError):
            raise meaning from None  # it says which table or alias, and there is nothing to debug
        raise meaning from error


def migrate_command(alias: str) -> str:
    """What makes the tables in the database of that alias."""
    return "manage.py migrate" + ("" if alias == DEFAULT_DB_ALIAS else f" --database {alias}")


def explain(error: BaseException) -> HoldfastError | None:
    """The typed error for one of Django's or psycopg's; None if it means something else."""
    if isinstance(error, ConnectionDoesNotExist):
        return _unknown_alias()
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    if not isinstance(cause, psycopg.Error):
        return None
    alias = settings().DATABASE
    if cause.sqlstate in _MISSING:
        return NotMigratedError(
            f"The database {alias!r} has no Holdfast tables, or older ones ({cause.diag.message_primary}). "
            f"Run: {migrate_command(alias)}",
            setting="DATABASE",
            alias=alias,
        )
    if is_passing(cause):
        place = connections[alias].settings_dict
        where = f"{place['NAME']} on {place['HOST'] or 'the local socket'}:{place['PORT'] or 5432}"
        said = " ".join(str(cause).split())
        if cause.sqlstate in _TAKES_NO_WRITES:
            return DatabaseUnreachableError(
                f"The database {alias!r} ({where}) takes no writes: {said}. Point its settings (DATABASE_URL on the "
                "reference site) at the primary, let the role write, and give the server free space.",
                alias=alias,
            )
        return DatabaseUnreachableError(
            f"The database {alias!r} ({where}) does not answer: {said}. "
            "Check its settings (DATABASE_URL on the reference site) and that the server runs.",
            alias=alias,
        )
    return None


def _unknown_alias() -> HoldfastError | None:
    """None where Holdfast's own alias is known: then it is another one that somebody asked for."""
    alias = settings().DATABASE
    if alias in connections:
        return None
    return ConfigurationError(
        f"HOLDFAST['DATABASE'] is {alias!r}, and DATABASES has no such alias; it has {', '.join(connections)}.",
        setting="DATABASE",
        alias=alias,
    )
