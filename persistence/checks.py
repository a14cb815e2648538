"""System checks of the database that HOLDFAST["DATABASE"] names, and of upstream's tables.

None of them opens a connection; what only the database can tell is told by ``holdfast doctor``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db import connections

from holdfast.conf import settings
from holdfast.errors import ConfigurationError
from holdfast.persistence.backends.address import KINDS, checked
from holdfast.persistence.codec import codec
from holdfast.persistence.encryption import keyring
from holdfast.persistence.upstream import KNOWN, KNOWN_RELEASE, fingerprints


@checks.register
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """HOLDFAST can be read and its backends are known, its DATABASE is PostgreSQL with psycopg 3, what it names can be imported.

    Opens no connection.
    """
    try:
        for kind in KINDS:
            checked(None, kind)
        if settings().SERIALIZABLE:  # else there is nothing to look at that is worth LangGraph's import
            codec()
        keyring()
        if settings().STORE_INDEX:
            from holdfast.persistence.store.tables import check_vectors_may_be_read

            check_vectors_may_be_read()
    except ConfigurationError as error:
        return [checks.Error(error.message, id="holdfast.E001")]
    return _alias_problems(settings().DATABASE)


@checks.register
def check_upstream(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """The installed langgraph-checkpoint-postgres has the migrations that ours account for."""
    if version("langgraph-checkpoint-postgres") == KNOWN_RELEASE:
        return []  # without importing it, which takes longer than all else at the start of a command
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
