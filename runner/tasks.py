"""The Celery tasks: thin wrappers around the stations, found by ``autodiscover_tasks``.

Late acknowledgement and rejection on a lost worker are the bells' own; a run needs neither, but a bell that
comes back at once finds a dead run before the sweep does. No ETA, no Celery retry, no stored result, no limit.
"""

from __future__ import annotations

from typing import Final

from celery import shared_task

from holdfast.graphs import registry
from holdfast.persistence import retention
from holdfast.persistence.ids import parse_run_id
from holdfast.persistence.models.runs import RunStatus
from holdfast.runner import (
    dispatch,
    worker,  # connects the worker's signals
)
from holdfast.runner.runs.attend import attend

HANDED_OVER: Final = "handed over"
"""It goes on in another process, from its last checkpoint."""
LEFT_ALONE: Final = "left alone"
"""Another process has the run, or it is not due, or it has ended."""


@shared_task(
    name=dispatch.TASK,
    acks_late=True,
    reject_on_worker_lost=True,
    ignore_result=True,
    max_retries=0,
    time_limit=dispatch.UNLIMITED,
    soft_time_limit=dispatch.UNLIMITED,
)
def run(run_id: str) -> str:
    """Attend to the bell of one run; says for the worker's log and for Flower what came of it.

    Celery calls each delivery a success that did not raise: also one that ended with a question, or did nothing.
    Raises RunFailedError after a failed run has been settled, ConfigurationError in a pool that cannot execute.
    """
    worker.refuse_if_green()
    found = attend(parse_run_id(run_id))
    if found is None:
        return LEFT_ALONE
    return HANDED_OVER if found.status is RunStatus.QUEUED else str(found.status)


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
