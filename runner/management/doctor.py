"""``holdfast doctor``: looks at each part that a run needs, and says how to mend what is wrong.

It reads only: nothing is written, sent for execution or repaired. A part that cannot be looked at
because another is missing is told as skipped, not as healthy.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Literal

from django.db import connections

import holdfast
from holdfast.conf import settings
from holdfast.errors import HoldfastError
from holdfast.runner import dispatch
from holdfast.runner.broker.errors import BrokerSchemaError

SKEW: Final = 2.0
"""Seconds that this machine's clock may differ from the database's; due times are shown wrong beyond it."""
ANSWER: Final = 2.0
"""Seconds that workers have to answer, and a broker to take a connection."""
BEAT_AGE: Final = 5.0
"""Seconds after which a heartbeat's session counts as silent."""
OLDEST_SERVER: Final = 130000
"""PostgreSQL 13."""

Verdict = Literal["ok", "warning", "wrong", "skipped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one look found."""

    part: str
    verdict: Verdict
    detail: str
    mend: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything, in the order in which the parts need each other."""
    yield _versions()
    configured = _settings()
    yield configured
    database = _database()
    yield database
    silent = "the database cannot be used" if database.verdict == "wrong" else ""
    yield from _backends()
    migrations = _unless(silent, _migrations)
    if migrations.mend and configured.verdict == "wrong":  # `migrate` refuses while a check fails
        migrations = replace(migrations, mend=f"mend the settings first; then {migrations.mend}")
    yield migrations
    yield _unless(silent, _clock)
    bare = "" if dispatch.project_app() else "the project has no Celery app, see settings"
    broker = _unless(bare or (silent if _celery_broker().startswith("holdfast://") else ""), _broker)
    yield broker
    unheard = {"skipped": "the broker was not looked at", "wrong": "the broker cannot be used"}
    yield _unless(bare or unheard.get(broker.verdict, ""), _workers)
    yield _unless(silent or bare, _sweep)


def _part(look: Callable[..., Any]) -> str:
    return look.__name__.strip("_")


def _unless(missing: str, look: Callable[[], Finding]) -> Finding:
    """The look, or why there is none."""
    return _skipped(look, missing) if missing else _guarded(look)


def _guarded(look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:  # noqa: BLE001 - a look that fails is a finding, and the next one still runs
        return Finding(
            part=_part(look),
            verdict="wrong",
            detail=f"{type(error).__name__}: {' '.join(str(error).split())}",
        )


def _skipped(look: Callable[[], Finding], why: str) -> Finding:
    return Finding(part=_part(look), verdict="skipped", detail=f"not looked at: {why}")


def _versions() -> Finding:
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


def _settings() -> Finding:
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


def _database() -> Finding:
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


def _migrations() -> Finding:
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


def _backends() -> Iterator[Finding]:
    """Checkpoints, store and cache that are not in Django's database: each is opened."""
    from holdfast.persistence import backends
    from holdfast.persistence.backends.address import KINDS
    from holdfast.persistence.backends.opening import opened

    try:
        for kind in KINDS:
            for address in backends.known(kind):
                part, shown = kind.lower(), backends.shown(address)
                try:
                    opened(kind, address)
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


def _clock() -> Finding:
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


def _celery() -> Any:
    from holdfast.runner import tasks

    return tasks.run.app


def _broker() -> Finding:
    app = _celery()
    with app.connection_for_write(connect_timeout=ANSWER) as connection:
        shown = connection.as_uri()
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=ANSWER)
            waiting = _waiting(connection, dispatch.default_queue(app))
        except Exception as error:  # noqa: BLE001 - each transport has its own errors
            mend = (
                "check BROKER_URL (or your Celery app's broker_url) and that the broker runs; "
                "runs that are enqueued meanwhile wait and are found later"
            )
            if isinstance(error, BrokerSchemaError):
                mend = "see migrations"
            return Finding(
                part="broker",
                verdict="wrong",
                detail=f"{shown}: {' '.join(str(error).split()) or type(error).__name__}",
                mend=mend,
            )
    return Finding(part="broker", verdict="ok", detail=f"{shown}, {waiting}")


def _waiting(connection: Any, queue: str) -> str:
    """What waits in the queue. A connection alone proves little: some transports open it when they need it."""
    try:
        count = connection.default_channel.queue_declare(queue, passive=True).message_count
    except connection.channel_errors as error:
        if isinstance(error, BrokerSchemaError):
            raise
        return f"no worker has made the queue {queue!r} yet"
    return f"{count} {'message' if count == 1 else 'messages'} in the queue {queue!r}"


def _celery_broker() -> str:
    """The broker's URL; empty where the app itself does not load, which the look at the broker tells."""
    try:
        return str(_celery().conf.broker_url or "")
    except Exception:  # noqa: BLE001 - told by the next look
        return ""


def _workers() -> Finding:
    app = _celery()
    inspect = app.control.inspect(timeout=ANSWER)
    answers = inspect.ping() or {}
    if not answers:
        return Finding(
            part="workers",
            verdict="wrong",
            detail=f"none answered within {ANSWER:g} s",
            mend=f"start one: celery -A {_module_of(app)} worker (or `holdfast up`)",
        )
    wanted = dispatch.default_queue(app)
    heard = [
        name
        for name, queues in (inspect.active_queues() or {}).items()
        if wanted in {queue["name"] for queue in queues or ()}
    ]
    names = ", ".join(sorted(answers))
    if not heard:
        return Finding(
            part="workers",
            verdict="wrong",
            detail=f"{names}: none consumes the queue {wanted!r}",
            mend=f"start one with -Q {wanted}, or set HOLDFAST['QUEUE'] to a queue that is consumed",
        )
    return Finding(part="workers", verdict="ok", detail=f"{len(answers)} answered: {names}")


def _module_of(app: Any) -> str:
    """The module that Celery's ``-A`` wants; its ``main`` is only a name."""
    holding = (
        name
        for name, module in list(sys.modules.items())
        if app in (vars(module).get("app"), vars(module).get("celery"))
    )
    return min(holding, key=lambda name: (not name.endswith(".celery"), len(name)), default="yourproject")


def beating() -> int:
    """How many worker processes beat on this database, and sweep."""
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM pg_stat_activity
            WHERE application_name = 'holdfast-heartbeat' AND datname = current_database()
              AND coalesce(state_change > clock_timestamp() - make_interval(secs => %s), true)
            """,
            [BEAT_AGE],
        )
        return int(cursor.fetchone()[0])


def _sweep() -> Finding:
    if number := beating():
        each = (
            "1 worker process beats and sweeps"
            if number == 1
            else f"{number} worker processes beat and sweep"
        )
        return Finding(part="sweep", verdict="ok", detail=each)
    return Finding(
        part="sweep",
        verdict="wrong",
        detail="no worker process beats: lost runs are not found and due runs not started",
        mend="start a worker; if one runs, its app does not import holdfast.runner.tasks (autodiscover_tasks)",
    )
