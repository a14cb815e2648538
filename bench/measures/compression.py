"""What large values cost to keep: PostgreSQL's own compression, lz4, and encrypted, which does not compress."""

from __future__ import annotations

from bench.lanes import HOLDFAST
from bench.order import Order
from bench.report import Line

ROUNDS = 7


def measure(order: Order) -> list[Line]:
    """Megabytes and milliseconds by way, and lz4 against pglz in the rounds beside each other."""
    order.tell(f"compression: {ROUNDS} rounds of a conversation of 60 turns, each way")
    found = order.lanes.get(HOLDFAST).driver.ask("compression", rounds=ROUNDS)
    part = "a conversation of 60 turns, stored whole at each"
    lines = []
    for what, unit, scale in (("bytes", "MB", 1e-6), ("turn", "ms a turn", 1e3), ("read", "ms a read", 1e3)):
        for way, rounds in found.items():
            values = [each[what] * scale for each in rounds]
            lines.append(
                Line(part=part, what=f"{way}, {unit}", unit=unit.split()[0], values=values, digits=2)
            )
        if "lz4" in found:
            ratios = [
                ours[what] / theirs[what] for ours, theirs in zip(found["lz4"], found["pglz"], strict=True)
            ]
            lines.append(Line(part=part, what=f"{what}: lz4 ÷ pglz", unit="", values=ratios, digits=2))
    return lines
