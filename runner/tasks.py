"""The Celery tasks: thin wrappers around the stations, found by ``autodiscover_tasks``.

Late acknowledgement and rejection on a lost worker are the bells' own; a run needs neither, but a bell that
comes back at once finds a dead run before the sweep does. No ETA, no Celery retry, no result, no limit.
"""

from __future__ import annotations

from celery import shared_task

from holdfast.graphs import registry
from holdfast.persistence import retention
from holdfast.persistence.ids import parse_run_id
from holdfast.runner import dispatch
from holdfast.runner import worker as _worker  # noqa: F401 - connects the worker's signals
from holdfast.runner.runs.attend import attend


@shared_task(
    name=dispatch.TASK,
    acks_late=True,
    reject_on_worker_lost=True,
    ignore_result=True,
    max_retries=0,
    time_limit=dispatch.UNLIMITED,
    soft_time_limit=dispatch.UNLIMITED,
)
def run(run_id: str) -> None:
    """Attend to the bell of one run. Raises RunFailedError after a failed run has been settled."""
    attend(parse_run_id(run_id))


@shared_task(
    name="holdfast.prune",
    acks_late=True,
    ignore_result=True,
    max_retries=0,
    time_limit=dispatch.UNLIMITED,
    soft_time_limit=dispatch.UNLIMITED,
)
def prune(dry_run: bool = False) -> None:
    """Delete what HOLDFAST["RETENTION"] no longer keeps. Raises InvalidInputError, psycopg.OperationalError."""
    retention.prune(dry_run=dry_run, cache_versions=registry.cache_versions())
