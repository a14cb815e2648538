"""System checks of the database that HOLDFAST["DATABASE"] names, and of upstream's tables.

``manage.py check`` runs those that need no connection; ``missing_tables`` asks the database and is
for whoever is about to use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db import connections

from holdfast.conf import settings
from holdfast.errors import ConfigurationError, NotMigratedError
from holdfast.persistence.codec import codec
from holdfast.persistence.connections import retrying
from holdfast.persistence.sql import query
from holdfast.persistence.trouble import migrate_command
from holdfast.persistence.upstream import KNOWN, TABLES, fingerprints


@checks.register
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """HOLDFAST can be read, its DATABASE is PostgreSQL with psycopg 3, and its types can be imported.

    Opens no connection.
    """
    try:
        codec()
    except ConfigurationError as error:
        return [checks.Error(error.message, id="holdfast.E001")]
    return _alias_problems(settings().DATABASE)


@checks.register
def check_upstream(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """The installed langgraph-checkpoint-postgres has the migrations that ours account for."""
    found = fingerprints()
    return [
        checks.Warning(
            f"langgraph-checkpoint-postgres has other migrations for its {name} tables "
            f"({found[name].size}, {found[name].digest}) than this version of Holdfast knows "
            f"({known.size}, {known.digest}).",
            hint="Use a version of Holdfast that knows them, or an older langgraph-checkpoint-postgres.",
            id="holdfast.W001",
        )
        for name, known in KNOWN.items()
        if found[name] != known
    ]


def _alias_problems(alias: str) -> list[checks.CheckMessage]:
    if alias not in connections:
        return [
            checks.Error(
                f'HOLDFAST["DATABASE"] is {alias!r}, and DATABASES has no such alias.', id="holdfast.E002"
            )
        ]
    if connections[alias].vendor != "postgresql":
        return [
            checks.Error(
                f"The database {alias!r} is {connections[alias].vendor}; Holdfast needs PostgreSQL.",
                id="holdfast.E003",
            )
        ]
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if not is_psycopg3:
        return [checks.Error("Django uses psycopg2; Holdfast needs psycopg 3.", id="holdfast.E004")]
    return []


def our_tables() -> tuple[str, ...]:
    """Every table and view that the migrations of this app make or adopt."""
    from django.apps import apps

    ours = {model._meta.db_table for model in apps.get_app_config("holdfast_persistence").get_models()}
    return tuple(sorted(ours | set(TABLES)))


def missing_tables(alias: str | None = None) -> list[str]:
    """The tables of Holdfast that the database lacks. Raises DatabaseUnreachableError, ConfigurationError."""
    names = list(our_tables())

    def work(connection: Any) -> list[str]:
        return [row[0] for row in connection.execute(query("session_missing_tables"), {"names": names})]

    return retrying(alias or settings().DATABASE, work, seconds=2)


def not_migrated(alias: str, missing: Sequence[str]) -> NotMigratedError:
    """The error for a database that lacks these tables."""
    shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
    return NotMigratedError(
        f"The database {alias!r} lacks {len(missing)} of Holdfast's tables ({shown}). "
        f"Run: {migrate_command(alias)}",
        alias=alias,
        missing=tuple(missing),
    )
