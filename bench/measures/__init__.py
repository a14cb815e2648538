"""What can be measured, by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable

from bench.measures import cache, compression, handing_in, idle, latency, memory, recovery, saver, throughput
from bench.order import Order
from bench.report import Line

MEASURES: dict[str, Callable[[Order], list[Line]]] = {
    "throughput": throughput.measure,
    "latency": latency.measure,
    "handing_in": handing_in.measure,
    "memory": memory.measure,
    "idle": idle.measure,
    "saver": saver.measure,
    "cache": cache.measure,
    "recovery": recovery.measure,
    "compression": compression.measure,
}
