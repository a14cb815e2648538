"""What a prefork child takes: RSS counts pages that it shares with its parent, PSS its part of them, USS none."""

from __future__ import annotations

import time

from bench.lanes import HOLDFAST
from bench.order import Order
from bench.report import Line

MEGABYTE = 1_000_000
SETTLE = 2.0  # seconds: the children have started their heartbeats by then


def measure(order: Order) -> list[Line]:
    """Megabytes of an idle child, fresh, and after it has executed some runs."""
    lane = order.lanes.get(HOLDFAST)
    lines = []
    lane.end_worker()
    _ = lane.worker
    for title in ("fresh", "after 10 runs"):
        order.tell(f"memory: {title}")
        if title != "fresh":
            lane.burst("bench_ten", 20)
        time.sleep(SETTLE)  # an idle child is what is measured
        children = [child.memory_full_info() for child in lane.worker.family[1:]]
        for kind in ("rss", "pss", "uss"):
            values = [getattr(child, kind) / MEGABYTE for child in children if hasattr(child, kind)]
            if values:
                lines.append(
                    Line(
                        part="an idle prefork child",
                        what=f"{kind.upper()}, {title}",
                        unit="MB",
                        values=values,
                        target="≤ 130 MB" if kind == "rss" else "",
                    )
                )
    return lines
