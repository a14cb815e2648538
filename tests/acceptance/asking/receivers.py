"""A receiver of run_settled, in the workers that ask for one: it writes a row, and may take its time before.

``SETTLED_LOG`` names a file that gets ``<run> <status> <process id>`` when it is called. While the file
``SETTLED_GATE`` exists it does not go on, nor for ``SETTLED_SECONDS``.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from holdfast.persistence.models import Step
from holdfast.persistence.records import Run
from holdfast.runner.signals import run_settled


def hear(run: Run, **_: object) -> None:
    """Say so, wait, write."""
    with Path(os.environ["SETTLED_LOG"]).open("a", encoding="utf-8") as log:
        log.write(f"{run.id} {run.status} {os.getpid()}\n")
    seconds = float(os.environ.get("SETTLED_SECONDS", "0"))
    time.sleep(seconds)  # the receiver is slow: that is the trial
    gate = os.environ.get("SETTLED_GATE")
    while gate and Path(gate).exists():
        time.sleep(0.01)  # another process takes the gate away, no event tells of it
    Step.objects.create(
        run_id=run.id,
        delivery=0,
        step=0,
        node="heard",
        task_id=f"heard-{run.deliveries}",
        owner=str(os.getpid()),
        started_at=run.created_at,
        outcome=str(run.status),
    )


if "SETTLED_LOG" in os.environ:
    run_settled.connect(hear, sender=Run)
