"""What reading the node cache costs: the hundred values of a fan-out against one."""

from __future__ import annotations

from bench.lanes import HOLDFAST
from bench.order import Order
from bench.report import Line

KEYS = 100
ROUNDS, CALLS = 30, 20


def measure(order: Order) -> list[Line]:
    """Milliseconds a ``get``, and the ratio."""
    order.tell(f"cache: {ROUNDS} rounds of {CALLS} gets")
    found = order.lanes.get(HOLDFAST).driver.ask("cached", keys=KEYS, rounds=ROUNDS, calls=CALLS)
    part = "DjangoCache.get"
    return [
        Line(part=part, what="one key", unit="ms", values=[took["one"] * 1000 for took in found], digits=2),
        Line(
            part=part, what=f"{KEYS} keys", unit="ms", values=[took["all"] * 1000 for took in found], digits=2
        ),
        Line(
            part=part,
            what=f"{KEYS} keys ÷ one key",
            unit="",
            values=[took["all"] / took["one"] for took in found],
            target="≤ 2.0",
            digits=2,
        ),
    ]
