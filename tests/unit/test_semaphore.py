"""The pool's permits are never lost: without one, nothing of the process would be stored any more (P1)."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.persistence.connections.semaphore import Semaphore


def test_p1_a_task_that_is_cancelled_while_its_permit_is_handed_over_gives_it_back() -> None:
    async def cancelled_at_that_moment(permits: Semaphore) -> None:
        permits.acquire()
        waiting = asyncio.create_task(permits.aacquire())
        await asyncio.sleep(0)  # the tasks get their turn
        (turn,) = permits._line
        permits._line.clear()
        turn.set_running_or_notify_cancel()  # as give(), in another thread, which is not yet done
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        turn.set_result(None)

    permits = Semaphore(1)
    asyncio.run(cancelled_at_that_moment(permits))
    assert permits._free == 1


def test_a_task_that_is_cancelled_while_it_waits_takes_no_permit() -> None:
    async def cancelled(permits: Semaphore) -> None:
        permits.acquire()
        waiting = asyncio.create_task(permits.aacquire())
        await asyncio.sleep(0)  # the tasks get their turn
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        permits.release()

    permits = Semaphore(1)
    asyncio.run(cancelled(permits))
    assert permits._free == 1
