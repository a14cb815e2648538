"""The project's own parts: versions, settings, its database, what is kept elsewhere, the clock."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from django.db import connections

import holdfast
from holdfast.conf import settings
from holdfast.errors import HoldfastError
from holdfast.runner.management.doctor.finding import Finding

SKEW: Final = 2.0
"""Seconds that this machine's clock may differ from the database's; due times are shown wrong beyond it."""
OLDEST_SERVER: Final = 130000
"""PostgreSQL 13."""


def versions() -> Finding:
    """Of Python and of what Holdfast stands on."""
    names = ("holdfast", "django", "celery", "kombu", "langgraph", "langgraph-checkpoint-postgres", "psycopg")
    found = {name: _installed(name) for name in names}
    detail = ", ".join([f"Python {platform.python_version()}", *(f"{name} {v}" for name, v in found.items())])
    if missing := [name for name, v in found.items() if v == "missing"]:
        return Finding(
            part="versions", verdict="wrong", detail=detail, mend=f"pip install {' '.join(missing)}"
        )
    return Finding(part="versions", verdict="ok", detail=detail)


def _installed(name: str) -> str:
    try:
        return holdfast.__version__ if name == "holdfast" else version(name)
    except PackageNotFoundError:
        return "missing"


def project_settings() -> Finding:
    """What Django's system checks say."""
    from django.core import checks

    found = [message for message in checks.run_checks() if message.level >= checks.WARNING]
    errors = [message for message in found if message.level >= checks.ERROR]
    if not found:
        return Finding(part="settings", verdict="ok", detail="Django's system checks find nothing")
    first = (errors or found)[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Finding(
        part="settings",
        verdict="wrong" if errors else "warning",
        detail=f"{first.id}: {first.msg}{more}",
        mend=str(first.hint or "see `manage.py check`"),
    )


def database() -> Finding:
    """Whether it answers, and is new enough."""
    alias = settings().DATABASE
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('server_version'), current_setting('server_version_num')::int, "
                "pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"
            )
            shown, number, standby, read_only = cursor.fetchone()
    except Exception as error:  # noqa: BLE001 - whatever the driver or the settings raise is what is wrong
        reason = " ".join(str(error).split())
        mend = "check DATABASE_URL, and that the server runs and lets this machine in"
        return Finding(part="database", verdict="wrong", detail=reason, mend=mend)
    where = connections[alias].settings_dict
    detail = f"PostgreSQL {shown}, {where['NAME']} on {where['HOST'] or 'the local socket'}"
    if number < OLDEST_SERVER:
        return Finding(part="database", verdict="wrong", detail=detail, mend="use PostgreSQL 13 or newer")
    if standby:
        detail += ", a standby, which takes no writes"
        return Finding(
            part="database", verdict="wrong", detail=detail, mend="point DATABASE_URL at the primary"
        )
    if read_only:
        detail += ", where this role may only read"
        mend = "unset default_transaction_read_only for the role, the database and in OPTIONS"
        return Finding(part="database", verdict="wrong", detail=detail, mend=mend)
    return Finding(part="database", verdict="ok", detail=detail)


def migrations() -> Finding:
    """Whether all are applied."""
    from django.db.migrations.executor import MigrationExecutor

    from holdfast.persistence.trouble import migrate_command

    executor = MigrationExecutor(connections[settings().DATABASE])
    targets = [key for key in executor.loader.graph.leaf_nodes() if key[0].startswith("holdfast_")]
    missing = [migration for migration, _ in executor.migration_plan(targets)]
    if missing:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration in missing)
        mend = f"run `{migrate_command(settings().DATABASE)}`"
        return Finding(part="migrations", verdict="wrong", detail=f"missing: {names}", mend=mend)
    return Finding(part="migrations", verdict="ok", detail="all applied")


def backends() -> Iterator[Finding]:
    """Checkpoints, store and cache that are not in Django's database: each is opened."""
    from holdfast.persistence import backends
    from holdfast.persistence.backends.address import KINDS
    from holdfast.persistence.backends.opening import opened

    try:
        for kind in KINDS:
            for address in backends.known(kind):
                part, shown = kind.lower(), backends.shown(address)
                try:
                    found = opened(kind, address)
                    if kind == "CHECKPOINTER" and found.delete is None and (wanted := _wants_less(address)):
                        detail = f"{shown} cannot delete single checkpoints, which {wanted} asks for"
                        mend = "give its saver a delete_checkpoints(thread_id, checkpoints)"
                        yield Finding(part=part, verdict="wrong", detail=detail, mend=mend)
                        continue
                except HoldfastError as error:
                    mend = f'check HOLDFAST["{kind}"] and the graphs that name it, and that the server runs'
                    yield Finding(part=part, verdict="wrong", detail=error.message, mend=mend)
                except Exception as error:  # noqa: BLE001 - each backend has its own errors
                    detail = f"{shown}: {type(error).__name__}: {' '.join(str(error).split())}"
                    yield Finding(part=part, verdict="wrong", detail=detail)
                else:
                    yield Finding(part=part, verdict="ok", detail=shown)
    finally:
        backends.close_backends()


def _wants_less(address: str) -> str | None:
    """What asks for a part of the histories there to go; None: nothing."""
    from holdfast.graphs import registry

    if settings().RETENTION.keep_last is not None:
        return "keep_last of RETENTION"
    here = [spec for spec in registry.all() if (spec.checkpointer or settings().CHECKPOINTER) == address]
    return next((f"history= of graph {spec.name!r}" for spec in here if spec.history is not None), None)


def clock() -> Finding:
    """This machine's against the database's."""
    with connections[settings().DATABASE].cursor() as cursor:
        before = time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        after = time.time()
        (theirs,) = cursor.fetchone()
    skew = theirs - (before + after) / 2
    detail = f"{abs(skew):.3f} s {'behind' if skew > 0 else 'ahead of'} the database's"
    if abs(skew) <= SKEW + (after - before):
        return Finding(part="clock", verdict="ok", detail=detail)
    mend = "let both machines follow a time server; leases are safe, since only the database's clock counts"
    return Finding(part="clock", verdict="warning", detail=detail, mend=mend)
