"""Sends the bare Celery tasks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from langgraph.checkpoint.postgres import PostgresSaver

from bench.drivers import serve
from bench.project import stock
from bench.project.celery_setup import ends, ends_path


def setup() -> None:
    """Make upstream's tables."""
    with stock.connect() as connection:
        PostgresSaver(connection).setup()


def burst(graph: str, count: int) -> dict[str, Any]:
    """Send ``count`` tasks."""
    began = time.time()
    with stock.app.producer_pool.acquire() as producer:
        sent = [stock.run.apply_async((graph, {"text": "burst"}), producer=producer).id for _ in range(count)]
    return {"began": began, "sent": time.time(), "ids": sent}


def latency(graph: str, count: int, pause: float) -> list[dict[str, float]]:
    """Send one task after the other to an idle worker; seconds until it had returned."""
    found = []
    for _ in range(count):
        time.sleep(pause)  # an idle worker is what is measured
        began = time.time()
        task_id = stock.run.delay(graph, {"text": "one"}).id
        while task_id not in (seen := ends()):
            time.sleep(0.0005)  # the task says so in a file
        found.append({"caller": seen[task_id] - began})
    return found


def hand_in(graph: str, size: int, calls: int) -> list[dict[str, float]]:
    """Send ``size`` tasks in each of the calls, for nobody; seconds by the clock and of this process's."""
    found = []
    for _ in range(calls):
        clock, cpu = time.perf_counter(), time.process_time()
        with stock.app.producer_pool.acquire() as producer:
            for _ in range(size):
                stock.run.apply_async(
                    (graph, {"text": "one"}), producer=producer, queue="nobody-consumes-this"
                )
        found.append({"clock": time.perf_counter() - clock, "cpu": time.process_time() - cpu})
    return found


if __name__ == "__main__":
    Path(ends_path()).touch()
    serve({"setup": setup, "burst": burst, "latency": latency, "hand_in": hand_in})
