"""Wait: until a run has ended, or asks; on a thread, or on an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator

from asgiref.sync import sync_to_async

from holdfast.errors import WaitTimeoutError
from holdfast.persistence import ledger
from holdfast.persistence.ids import RunId
from holdfast.persistence.models.runs import RunStatus
from holdfast.persistence.records import Run

FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.25

OnChange = Callable[[Run], None]
"""Gets each reading whose status or delivery differs from the one before."""


def wait(run_id: RunId, *, timeout: float | None, on_change: OnChange | None = None) -> Run:
    """The run once it has ended or is interrupted; looks up to 4 times a second, at first more often.

    ``timeout`` in seconds. Raises RunNotFoundError, WaitTimeoutError. Do not call it inside a transaction
    that has enqueued the run: it would wait for its own commit.
    """
    looks = _looks(run_id, timeout, on_change)
    while not isinstance(found := next(looks), Run):
        time.sleep(found)  # a web process opens no connection for LISTEN
    return found


async def wait_async(
    run_id: RunId,
    *,
    timeout: float | None,  # noqa: ASYNC109 - the twin of ``wait``, with its typed error
    on_change: OnChange | None = None,
) -> Run:
    """As ``wait``. Between two looks the thread that all sync code of the loop shares is free for others."""
    looks = _looks(run_id, timeout, on_change)
    look = sync_to_async(lambda: next(looks))
    while not isinstance(found := await look(), Run):  # noqa: ASYNC110 - the event is a row's change
        await asyncio.sleep(found)  # as in wait
    return found


def _looks(
    run_id: RunId, timeout: float | None, on_change: OnChange | None
) -> Generator[float | Run, None, None]:
    """Each step is one look: the seconds until the next one, or the run."""
    give_up = None if timeout is None else time.monotonic() + timeout
    pause, before = FIRST_PAUSE, None
    while True:
        run = ledger.get(run_id)
        if on_change is not None and (run.status, run.deliveries) != before:
            before = (run.status, run.deliveries)
            on_change(run)
        if run.status.ended or run.status is RunStatus.INTERRUPTED:
            yield run
            return
        if give_up is not None and time.monotonic() >= give_up:
            raise WaitTimeoutError(
                f"Run {run_id} is still {run.status} after {timeout} s; it goes on.",
                run_id=run_id,
                status=run.status,
                timeout=timeout,
            )
        yield pause
        pause = min(pause * 1.5, LONGEST_PAUSE)
