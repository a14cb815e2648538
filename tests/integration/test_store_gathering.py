"""What asyncio tasks ask of the store at once is done together, and each gets what is its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.store.base import GetOp, Op, PutOp, Result

from holdfast.errors import LeaseLostError, NotSerializableError
from holdfast.persistence import DjangoStore
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import ThreadId, new_run_id, new_token
from holdfast.persistence.models import StoreItem
from tests.integration.stores import empty_store

__all__ = ["empty_store"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_store")]

A = ("a",)


class Counting(DjangoStore):
    """Knows how many operations went together."""

    sizes: list[int]

    async def _abatch(self, ops: list[Op]) -> list[Result]:
        self.sizes.append(len(ops))
        return await super()._abatch(ops)


@pytest.fixture
def store() -> Counting:
    counting = Counting()
    counting.sizes = []
    return counting


def test_what_tasks_ask_at_once_goes_together_and_each_gets_its_own(store: Counting) -> None:
    async def both() -> list[Any]:
        await asyncio.gather(*(store.aput(A, f"k{n}", {"n": n}) for n in range(1200)))
        return await asyncio.gather(*(store.aget(A, f"k{n}") for n in range(1200)))

    assert [item.value["n"] for item in asyncio.run(both())] == list(range(1200))
    assert max(store.sizes) == 500
    assert len(store.sizes) <= 8


def test_one_after_the_other_sees_what_was_before(store: Counting) -> None:
    async def one(n: int) -> None:
        for value in range(5):
            await store.aput(A, f"k{n}", {"n": value})
            item = await store.aget(A, f"k{n}")
            assert item is not None
            assert item.value == {"n": value}
            await store.adelete(A, f"k{n}")
            assert await store.aget(A, f"k{n}") is None

    async def several() -> None:
        await asyncio.gather(*(one(n) for n in range(10)))

    asyncio.run(several())


def test_the_error_of_one_is_nobody_elses(store: Counting) -> None:
    async def several() -> list[Any]:
        asked = (store.aput(A, f"k{n}", {"n": object() if n == 3 else n}) for n in range(6))
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(several())
    assert [type(answer) for answer in answers].count(NotSerializableError) == 1
    assert isinstance(answers[3], NotSerializableError)
    assert sorted(StoreItem.objects.values_list("key", flat=True)) == ["k0", "k1", "k2", "k4", "k5"]


def test_whoever_is_cancelled_takes_nobody_along(store: Counting) -> None:
    async def several() -> list[Any]:
        tasks = [asyncio.create_task(store.aput(A, f"k{n}", {})) for n in range(4)]
        await asyncio.sleep(0)  # they have asked
        tasks[0].cancel()
        tasks[2].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(several())
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [True, False, True, False]
    assert {"k1", "k3"} <= set(StoreItem.objects.values_list("key", flat=True))


def test_each_loop_has_its_own(store: Counting) -> None:
    for n in range(3):
        asyncio.run(store.aput(A, f"k{n}", {}))
    assert StoreItem.objects.count() == 3


def test_p2_a_fenced_store_does_not_write_with_others(store: Counting) -> None:
    fenced = store.under(Fence(new_run_id(), new_token(), ThreadId("t")))

    async def both() -> list[Any]:
        asked = (store.aput(A, "open", {}), fenced.aput(A, "stale", {}), fenced.aput(A, "too", {}))
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(both())
    assert [type(answer) for answer in answers] == [type(None), LeaseLostError, LeaseLostError]
    assert list(StoreItem.objects.values_list("key", flat=True)) == ["open"]


def test_a_batch_stays_whole(store: Counting) -> None:
    async def both() -> list[Any]:
        good = [PutOp(A, f"g{n}", {}) for n in range(3)]
        bad = [PutOp(A, "b", {}), PutOp(A, "c", {"x": object()})]
        asked = (store.abatch([GetOp(A, "?")]), store.abatch(good), store.abatch(bad))
        return await asyncio.gather(*asked, return_exceptions=True)

    nothing, done, refused = asyncio.run(both())
    assert (nothing, done, type(refused)) == ([None], [None] * 3, NotSerializableError)
    assert sorted(StoreItem.objects.values_list("key", flat=True)) == ["g0", "g1", "g2"]
