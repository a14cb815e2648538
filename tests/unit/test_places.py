"""Places in the pool are never lost: without one, nothing of the process would be stored any more (P1)."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.persistence.connections.places import Places


def test_p1_a_task_that_is_cancelled_while_its_place_is_handed_over_gives_it_back() -> None:
    async def cancelled_at_that_moment(places: Places) -> None:
        places.take()
        waiting = asyncio.create_task(places.atake())
        await asyncio.sleep(0)  # the tasks get their turn
        (turn,) = places._line
        places._line.clear()
        turn.set_running_or_notify_cancel()  # as give(), in another thread, which is not yet done
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        turn.set_result(None)

    places = Places(1)
    asyncio.run(cancelled_at_that_moment(places))
    assert places._free == 1


def test_a_task_that_is_cancelled_while_it_waits_takes_no_place() -> None:
    async def cancelled(places: Places) -> None:
        places.take()
        waiting = asyncio.create_task(places.atake())
        await asyncio.sleep(0)  # the tasks get their turn
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        places.give()

    places = Places(1)
    asyncio.run(cancelled(places))
    assert places._free == 1
