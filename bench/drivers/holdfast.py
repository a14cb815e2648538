"""Enqueues runs and looks at their rows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import django
from django.db import connections

from bench.project import celery as celery  # the lane's app becomes the current one

django.setup()

import holdfast
from bench.drivers import compression, reads, savers, serve
from bench.project.celery_setup import ends_path
from holdfast.persistence import DjangoCache
from holdfast.runner.api import Request


def burst(graph: str, count: int) -> dict[str, Any]:
    """Enqueue ``count`` runs."""
    began = time.time()
    runs = holdfast.enqueue_many([Request(graph=graph, input={"text": "burst"}) for _ in range(count)])
    return {"began": began, "sent": time.time(), "ids": [str(run.id) for run in runs]}


def enqueue(graph: str, given: dict[str, Any]) -> str:
    """Enqueue one run; its id."""
    return str(holdfast.enqueue(graph, given).id)


def look(ids: list[str]) -> dict[str, Any]:
    """How many of the runs succeeded, and how often all of them were claimed."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE status = 'succeeded'), coalesce(sum(deliveries), 0)"
            " FROM holdfast_run WHERE id = ANY(%s::uuid[])",
            [ids],
        )
        succeeded, deliveries = cursor.fetchone()
    return {"succeeded": succeeded, "deliveries": int(deliveries)}


def latency(graph: str, count: int, pause: float) -> list[dict[str, float]]:
    """Enqueue one run after the other for an idle worker; seconds until its row is finished, and until it is known.

    The row's time is the database's: it stands on the same machine, and so do the clocks.
    """
    found = []
    for _ in range(count):
        time.sleep(pause)  # an idle worker is what is measured
        began = time.time()
        run = holdfast.enqueue(graph, {"text": "one"})
        run = holdfast.wait(run.id, timeout=30)
        known = time.time()
        assert run.finished_at is not None
        found.append({"finished": run.finished_at.timestamp() - began, "caller": known - began})
    return found


def hand_in(graph: str, size: int, calls: int) -> list[dict[str, float]]:
    """Enqueue ``size`` runs in each of the calls, for nobody; seconds by the clock and of this process's."""
    requests = [Request(graph=graph, input={"text": "one"}, queue="nobody-consumes-this")] * size
    found = []
    for _ in range(calls):
        clock, cpu = time.perf_counter(), time.process_time()
        if size == 1:
            holdfast.enqueue(graph, {"text": "one"}, queue="nobody-consumes-this")
        else:
            holdfast.enqueue_many(requests)
        found.append({"clock": time.perf_counter() - clock, "cpu": time.process_time() - cpu})
    return found


def cached(keys: int, rounds: int, calls: int) -> list[dict[str, float]]:
    """Seconds that reading one cached value takes, and reading ``keys`` at once; means of ``calls``, in turn."""
    cache = DjangoCache[Any](version="bench")
    namespace = ("__pregel_ns_writes", "shop.graphs.summarise", "summarise")
    wanted = [(namespace, f"{number:032x}") for number in range(keys)]
    cache.set(
        {
            key: ([("summaries", ["A node's result, as long as a sentence or two. " * 4])], 3600)
            for key in wanted
        }
    )
    found = []
    for number in range(rounds + 2):  # the first two prepare the statement and warm caches
        took = {}
        for name, asked in (("one", wanted[:1]), ("all", wanted)):
            began = time.perf_counter()
            for _ in range(calls):
                got = cache.get(asked)
            took[name] = (time.perf_counter() - began) / calls
            if len(got) != len(asked):
                raise RuntimeError(f"{len(got)} of {len(asked)} cached values were found")
        if number > 1:
            found.append(took)
    return found


if __name__ == "__main__":
    Path(ends_path()).touch()
    serve(
        {
            "burst": burst,
            "enqueue": enqueue,
            "look": look,
            "latency": latency,
            "hand_in": hand_in,
            "cached": cached,
            "saver_steps": savers.steps,
            "saver_parallel": savers.parallel,
            "saver_newest": savers.newest,
            "saver_reads": reads.reads,
            "saver_listing": savers.listing,
            "saver_disk": savers.disk,
            "compression": compression.measure,
        }
    )
