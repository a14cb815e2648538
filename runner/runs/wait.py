"""Wait: until a run has ended, or asks; on a thread, or on an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator

from asgiref.sync import sync_to_async

from holdfast.errors import InvalidInputError, WaitTimeoutError
from holdfast.persistence import ledger
from holdfast.persistence.ids import RunId
from holdfast.persistence.models.runs import RunStatus
from holdfast.persistence.records import Run

FIRST_PAUSE = 0.003
"""Seconds after the first look: in less than that no worker hears of a run, executes and settles it."""
SHORTEST_PAUSE = 0.001
"""Seconds between two looks while a short run may end any moment; a look takes a tenth of that."""
GROWTH = 0.05
"""Of the time since the first look: so much may a run's end go unnoticed."""
LONGEST_PAUSE = 0.25

OnChange = Callable[[Run], None]
"""Gets each reading whose status or delivery differs from the one before."""


def wait(run_id: RunId, *, timeout: float | None, on_change: OnChange | None = None) -> Run:
    """The run once it has ended or is interrupted; looks every millisecond at first, in the end 4 times a second.

    ``timeout`` in seconds. Raises InvalidInputError, RunNotFoundError, WaitTimeoutError. Do not call it inside a transaction
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
    # NaN fails too, and would never be over.
    if timeout is not None and not (type(timeout) in (int, float) and timeout >= 0):
        raise InvalidInputError(
            f"timeout is {timeout!r}; it must be seconds, 0 or more, or None.", field="timeout"
        )
    begun = time.monotonic()
    before: tuple[RunStatus, int] | None = None
    shortest = FIRST_PAUSE
    while True:
        now = ledger.glance(run_id)
        over = now[0].ended or now[0] is RunStatus.INTERRUPTED
        if over or (on_change is not None and now != before):
            run = ledger.get(run_id)  # which may have gone on since the glance
            now = run.status, run.deliveries
            if on_change is not None and now != before:
                on_change(run)
            if run.status.ended or run.status is RunStatus.INTERRUPTED:
                yield run
                return
        before = now
        waited = time.monotonic() - begun
        if timeout is not None and waited >= timeout:
            raise WaitTimeoutError(
                f"Run {run_id} is still {now[0]} after {timeout:g} s; {what_then(now[0])}.",
                run_id=run_id,
                status=now[0],
                timeout=timeout,
            )
        yield min(max(shortest, waited * GROWTH), LONGEST_PAUSE)
        shortest = SHORTEST_PAUSE


def what_then(status: RunStatus) -> str:
    """What to expect of a run that somebody has waited for in vain."""
    if status is not RunStatus.QUEUED:
        return "it goes on"
    return (
        "no worker executes it now. Does one consume its queue (holdfast doctor)? A worker that was started before "
        "the graph was written must be restarted"
    )
