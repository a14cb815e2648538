"""What handing in costs the caller: runs one by one, a few in one call, and very many, against bare Celery tasks.

Nobody consumes the queue that they go to. The lanes take turns, so that what else the machine does meets
all of them; the processor time, of the caller's process only, says more than the time on a busy machine.
"""

from __future__ import annotations

from bench.order import Order
from bench.report import Line

ROUNDS = 5
CALLS = {1: 40, 25: 8, 5000: 1}
"""Calls a round, by the number of runs in a call. The very many are handed in in the first round only."""


def measure(order: Order) -> list[Line]:
    """Milliseconds a run, by the caller's clock and of its processor."""
    names = order.lanes.names()
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    for name in names:
        order.lanes.get(name).driver.ask("hand_in", graph="bench_one", size=25, calls=8)  # to warm up
    for number in range(ROUNDS):
        order.tell(f"handing in: round {number + 1} of {ROUNDS}")
        for size, calls in CALLS.items():
            for name in names if size < 5000 or not number else ():
                lane = order.lanes.get(name)
                costs = lane.driver.ask("hand_in", graph="bench_one", size=size, calls=calls)
                found.setdefault((size, name), []).extend(costs)
    lines = []
    for size in CALLS:
        for name in names:
            for key, title in (("clock", "the caller's clock"), ("cpu", "its processor time")):
                values = [cost[key] / size * 1000 for cost in found[size, name]]
                part = f"handing in, {size} in a call" if size > 1 else "handing in, one run"
                lines.append(
                    Line(part=part, what=f"{name}: {title}", unit="ms a run", values=values, digits=2)
                )
    return lines
