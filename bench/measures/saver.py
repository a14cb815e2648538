"""What a durable step costs: our fenced saver against stock PostgresSaver and no saver, in turn, in one process."""

from __future__ import annotations

from bench.lanes import HOLDFAST
from bench.order import Order
from bench.report import Line

ROUNDS = 30


def measure(order: Order) -> list[Line]:
    """Milliseconds a step, and the ratio."""
    order.tell(f"saver: {ROUNDS} rounds of 10 steps")
    found = order.lanes.get(HOLDFAST).driver.ask("savers", rounds=ROUNDS)
    part = "a step of a 10-node chain, durability sync"
    titles = {"none": "no saver", "stock": "stock PostgresSaver", "fenced": "DjangoSaver, fenced"}
    lines = [
        Line(part=part, what=titles[name], unit="ms", values=[v * 1000 for v in values], digits=2)
        for name, values in found.items()
    ]
    ratios = [ours / theirs for ours, theirs in zip(found["fenced"], found["stock"], strict=True)]
    return [*lines, Line(part=part, what="fenced ÷ stock", unit="", values=ratios, target="≤ 1.0", digits=2)]
