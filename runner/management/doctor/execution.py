"""What executes: the broker, the workers that answer on it, the processes that beat and sweep."""

from __future__ import annotations

import sys
from typing import Any, Final

from django.db import connections

from holdfast.conf import settings
from holdfast.runner import dispatch
from holdfast.runner.broker.errors import BrokerSchemaError
from holdfast.runner.management.doctor.finding import Finding

ANSWER: Final = 2.0
"""Seconds that workers have to answer, and a broker to take a connection."""
BEAT_AGE: Final = 5.0
"""Seconds after which a heartbeat's session counts as silent."""


def _celery() -> Any:
    from holdfast.runner import tasks

    return tasks.run.app


def broker() -> Finding:
    """Whether it takes a connection, and holds the queue."""
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
            missing = dispatch.missing_client(shown)
            if missing:
                mend = "install it where web, workers and beat run"
            elif isinstance(error, BrokerSchemaError):
                mend = "see migrations"
            return Finding(
                part="broker",
                verdict="wrong",
                detail=f"{shown}: {missing or ' '.join(str(error).split()) or type(error).__name__}",
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


def celery_broker() -> str:
    """The broker's URL; empty where the app itself does not load, which the look at the broker tells."""
    try:
        return str(_celery().conf.broker_url or "")
    except Exception:  # noqa: BLE001 - told by the next look
        return ""


def workers() -> Finding:
    """Whether any answers, and consumes the queue."""
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


def sweep() -> Finding:
    """Whether any process beats, and so sweeps."""
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
