"""Runs a second of ten steps on two prefork children, against a bare Celery task around stock PostgresSaver.

The lanes take turns, so that what else the machine does meets all of them; a round of one is compared
with the same round of the other. The processor time that the worker's processes took says more than
the rate on a machine that does other things too; PostgreSQL's and Redis's own is not in it.
"""

from __future__ import annotations

from bench.lanes import STOCK
from bench.order import Order
from bench.report import Line

ROUNDS = 6
WARM_UP = 20  # runs


def measure(order: Order) -> list[Line]:
    """Runs a second of each lane, and the ratios."""
    size = max(order.runs // ROUNDS, 1)
    spent: dict[str, list[float]] = {name: [] for name in order.lanes.names()}
    found: dict[str, list[float]] = {name: [] for name in order.lanes.names()}
    for name in found:
        lane = order.lanes.get(name)
        _ = lane.worker
        lane.burst("bench_ten", WARM_UP)
    for number in range(ROUNDS):
        for name, rates in found.items():
            lane = order.lanes.get(name)
            before = lane.worker.cpu_seconds()
            rates.append(lane.burst("bench_ten", size))
            spent[name].append((lane.worker.cpu_seconds() - before) / size * 1000)
            order.tell(f"throughput: round {number + 1} of {ROUNDS}, {name}: {rates[-1]:.1f} runs/s")
    part = f"{ROUNDS} × {size} runs of 10 steps, two prefork children"
    lines = [Line(part=part, what=name, unit="runs/s", values=rates) for name, rates in found.items()]
    lines += [
        Line(part=part, what=f"{name}: CPU of the worker", unit="ms a run", values=values)
        for name, values in spent.items()
    ]
    for name, rates in found.items():
        if STOCK in found and name != STOCK:
            ratios = [ours / theirs for ours, theirs in zip(rates, found[STOCK], strict=True)]
            what = f"{name} ÷ bare Celery task"
            lines.append(Line(part=part, what=what, unit="", values=ratios, target="≥ 1.0", digits=2))
    return lines
