"""What a worker costs that has nothing to do: parent and two children, in percent of one core."""

from __future__ import annotations

import time

import psutil

from bench.order import Order
from bench.report import Line

SECONDS = 20.0


def measure(order: Order) -> list[Line]:
    """Percent of a core, all lanes during the same seconds."""
    workers = {name: order.lanes.get(name).worker for name in order.lanes.names()}
    order.tell(f"idle: {SECONDS:g} s")
    time.sleep(1)  # what came before has died away
    before = {name: _spent(worker.family) for name, worker in workers.items()}
    began = time.monotonic()
    time.sleep(SECONDS)  # the measure itself
    passed = time.monotonic() - began
    lines = []
    for name, worker in workers.items():
        after = _spent(worker.family)
        parent = worker.process.pid
        for title, chosen in (
            ("parent", [pid for pid in after if pid == parent]),
            ("two children", [pid for pid in after if pid != parent]),
        ):
            share = sum(after[pid] - before[name].get(pid, 0.0) for pid in chosen) / passed * 100
            lines.append(
                Line(
                    part=f"an idle worker over {SECONDS:g} s",
                    what=f"{name}: {title}",
                    unit="% of a core",
                    values=[share],
                    digits=2,
                )
            )
    return lines


def _spent(family: list[psutil.Process]) -> dict[int, float]:
    return {each.pid: sum(each.cpu_times()[:2]) for each in family}
