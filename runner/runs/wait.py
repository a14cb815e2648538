"""Wait: until a run has ended, or asks."""

from __future__ import annotations

import time
from collections.abc import Callable

from holdfast.errors import WaitTimeoutError
from holdfast.persistence import ledger
from holdfast.persistence.ids import RunId
from holdfast.persistence.models.runs import RunStatus
from holdfast.persistence.records import Run

FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.25


def wait(run_id: RunId, *, timeout: float | None, on_change: Callable[[Run], None] | None = None) -> Run:
    """The run once it has ended or is interrupted; looks up to 4 times a second, at first more often.

    ``timeout`` in seconds; ``on_change`` gets each reading whose status or delivery differs from the one
    before. Raises RunNotFoundError, WaitTimeoutError. Do not call it inside a transaction that has
    enqueued the run: it would wait for its own commit.
    """
    give_up = None if timeout is None else time.monotonic() + timeout
    pause, before = FIRST_PAUSE, None
    while True:
        run = ledger.get(run_id)
        if on_change is not None and (run.status, run.deliveries) != before:
            before = (run.status, run.deliveries)
            on_change(run)
        if run.status.ended or run.status is RunStatus.INTERRUPTED:
            return run
        if give_up is not None and time.monotonic() >= give_up:
            raise WaitTimeoutError(
                f"Run {run_id} is still {run.status} after {timeout} s; it goes on.",
                run_id=run_id,
                status=run.status,
                timeout=timeout,
            )
        time.sleep(pause)  # a web process opens no connection for LISTEN
        pause = min(pause * 1.5, LONGEST_PAUSE)
