"""Runs a second of ten steps on two prefork children, against a bare Celery task around stock PostgresSaver.

The lanes take turns, so that what else the machine does meets all of them; a round of one is compared
with the same round of the other. The processor time that the worker's processes took says more than
the rate on a machine that does other things too; PostgreSQL's and Redis's own is not in it.
"""

from __future__ import annotations

from bench.lanes import STOCK, Burst
from bench.order import Order
from bench.report import Line

ROUNDS = 6
WARM_UP = 20  # runs


def measure(order: Order) -> list[Line]:
    """Runs a second of each lane, the ratios, and what a run cost worker and caller."""
    size = max(order.runs // ROUNDS, 1)
    found: dict[str, list[Burst]] = {name: [] for name in order.lanes.names()}
    for name in found:
        order.lanes.get(name).burst("bench_ten", WARM_UP)
    for number in range(ROUNDS):
        for name, bursts in found.items():
            bursts.append(order.lanes.get(name).burst("bench_ten", size))
            order.tell(f"throughput: round {number + 1} of {ROUNDS}, {name}: {bursts[-1].working:.1f} runs/s")
    part = f"{ROUNDS} × {size} runs of 10 steps, two prefork children"
    lines = []
    for name, bursts in found.items():
        lines.append(Line(part=part, what=name, unit="runs/s", values=[b.working for b in bursts]))
        if STOCK in found and name != STOCK:
            pairs = list(zip(bursts, found[STOCK], strict=True))
            what = f"{name} ÷ bare Celery task"
            ratios = [ours.working / theirs.working for ours, theirs in pairs]
            lines.append(Line(part=part, what=what, unit="", values=ratios, target="≥ 1.0", digits=2))
            ratios = [ours.overall / theirs.overall for ours, theirs in pairs]
            what += ", with handing in"
            lines.append(Line(part=part, what=what, unit="", values=ratios, digits=2))
    for name, bursts in found.items():
        for what, values in (
            ("CPU of the worker", [b.cpu for b in bursts]),
            ("the caller, handing in", [b.handing_in for b in bursts]),
        ):
            lines.append(Line(part=part, what=f"{name}: {what}", unit="ms a run", values=values))
    return lines
