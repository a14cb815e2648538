"""Seconds until a run goes on elsewhere: after kill -9 of the worker that executes it, and after SIGTERM.

Two workers with one child each; whoever does not execute is idle. Timed from the signal to the moment
when a step begins in another process, so a hand-over includes the rest of the step that it lets finish.
"""

from __future__ import annotations

import time
from pathlib import Path

from bench.lanes import HOLDFAST, Lane
from bench.order import Order
from bench.processes import BenchError, Worker
from bench.project.chains import read_lines
from bench.report import Line

TIMES = 5
STEP = 0.1  # seconds
TARGETS = {"kill -9": "≤ 2 s (P8)", "SIGTERM": "≤ 2 s"}


def measure(order: Order) -> list[Line]:
    """Seconds of each trial."""
    lane = order.lanes.get(HOLDFAST)
    lane.end_worker()
    workers = [lane.new_worker(concurrency=1) for _ in range(2)]
    lines = []
    for how in ("kill -9", "SIGTERM"):
        values = []
        for number in range(TIMES):
            values.append(_trial(lane, workers, how, number))
            order.tell(f"recovery: {how}, {number + 1} of {TIMES}: {values[-1]:.2f} s")
        lines.append(
            Line(
                part="the next step runs elsewhere after …",
                what=f"{how} of the executing worker",
                unit="s",
                values=values,
                target=TARGETS[how],
                digits=2,
            )
        )
    for worker in workers:
        worker.kill()
    return lines


def _trial(lane: Lane, workers: list[Worker], how: str, number: int) -> float:
    log = lane.folder / f"walk-{how.replace(' ', '')}-{number}"
    lane.driver.ask("enqueue", graph="bench_walk", given={"steps": 40, "seconds": STEP, "log": str(log)})
    first = _begun(log, other_than=None, at_least=4)
    victim = next(w for w in workers if first in {child.pid for child in w.family})
    at = time.time()
    if how == "SIGTERM":
        victim.term()
    else:
        victim.kill()
    _begun(log, other_than=first, at_least=1)
    again = next(float(moment) for _, pid, moment in read_lines(log) if int(pid) != first)
    victim.process.wait(30)
    workers[workers.index(victim)] = lane.new_worker(concurrency=1)
    return again - at


def _begun(log: Path, *, other_than: int | None, at_least: int, seconds: float = 60) -> int:
    """The process that has begun that many steps; waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pids = [int(pid) for _, pid, _ in read_lines(log)]
        chosen = [pid for pid in pids if pid != other_than]
        if len(chosen) >= at_least:
            return chosen[0]
        time.sleep(0.005)  # the steps say so in a file
    raise BenchError(f"no step began within {seconds} s")
