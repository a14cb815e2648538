"""P3: the ids of checkpoints sort in the order in which they follow each other, whichever host made them."""

from __future__ import annotations

from uuid import UUID

import pytest
from langgraph.checkpoint.base.id import uuid6

from holdfast.persistence.saver import order


@pytest.fixture(autouse=True)
def _on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order._clock, "_ahead", 0)
    monkeypatch.setattr(order._ids, "_last_v6_timestamp", None)


def later(id_: UUID, seconds: float) -> str:
    """An id made by a host whose clock is fast by so much."""
    ticks = ((id_.int >> 80) << 12 | (id_.int >> 64) & 0xFFF) + int(seconds * 10**7)
    rest = id_.int & (1 << 64) - 1
    return str(UUID(int=ticks >> 12 << 80 | 6 << 76 | (ticks & 0xFFF) << 64 | rest))


@pytest.mark.parametrize("seconds", [0.001, 3600.0])
def test_p3_what_follows_a_fast_hosts_checkpoint_sorts_after_it(seconds: float) -> None:
    fast = later(uuid6(clock_seq=0x3FFF), seconds)
    assert str(uuid6()) < fast
    order.follow(fast)
    following = [str(uuid6(clock_seq=0)) for _ in range(1000)]
    assert [fast, *following] == sorted({fast, *following})


def test_an_id_of_the_past_or_of_no_time_changes_nothing() -> None:
    slow = later(uuid6(), -3600)
    for id_ in (slow, "1", "", "00000000-0000-4000-8000-000000000000", later(uuid6(), 10 * 366 * 86400)):
        order.follow(id_)
    assert order._clock._ahead == 0
