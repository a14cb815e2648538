"""What both Celery apps of the benchmark share, so that neither is favoured."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery, signals

from bench.project.chains import leave_line, read_lines

_began: list[float] = []


def configure(app: Celery) -> None:
    """Late acknowledgement, one message at a time, no results, no events."""
    url = os.environ["HOLDFAST_BENCH_BROKER"]
    app.conf.update(
        broker_url=url,
        broker_connection_retry_on_startup=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=True,
    )
    if url.startswith("redis"):
        app.conf.broker_transport_options = {"global_keyprefix": os.environ["HOLDFAST_BENCH_PREFIX"]}


def ends_path() -> str:
    """The file with a line for each task that returned."""
    return os.environ["HOLDFAST_BENCH_ENDS"]


def ends() -> dict[str, float]:
    """When each task returned, by its id, in seconds since the epoch."""
    return {task_id: float(at) for task_id, _, at in read_lines(ends_path())}


@signals.task_prerun.connect
def _begins(**_: Any) -> None:
    """When a task begins is the same clock, and the same cost, for both."""
    _began.append(time.time())


@signals.task_postrun.connect
def _ended(task_id: str = "", **_: Any) -> None:
    """Say when a task began and returned."""
    leave_line(ends_path(), f"{task_id} {_began.pop():.6f} {time.time():.6f}")


@signals.worker_ready.connect
def _ready(**_: Any) -> None:
    leave_line(os.environ["HOLDFAST_BENCH_READY"], str(os.getpid()))
