"""From the call of ``enqueue`` of one idle step until its row says finished, and until the caller knows.

The caller waits with ``holdfast.wait``, which looks every millisecond at first.
"""

from __future__ import annotations

from bench.order import Order
from bench.report import Line

COUNT = 50
PAUSE = 0.06  # seconds between two runs, in which the worker becomes idle


def measure(order: Order) -> list[Line]:
    """Milliseconds of each lane."""
    lines = []
    for name in order.lanes.names():
        order.tell(f"latency: {name}")
        lane = order.lanes.get(name)
        _ = lane.worker
        found = lane.driver.ask("latency", graph="bench_one", count=COUNT + 5, pause=PAUSE)[5:]
        for key, title, target in (
            ("finished", "finished_at", "≤ 12 ms"),
            ("caller", "known to the caller", ""),
        ):
            if key in found[0]:
                values = [each[key] * 1000 for each in found]
                lines.append(
                    Line(
                        part="enqueue to finished, one idle step",
                        what=f"{name}: {title}",
                        unit="ms",
                        values=values,
                        target=target,
                    )
                )
    return lines
