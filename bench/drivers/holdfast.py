"""Enqueues runs and looks at their rows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import django
from django.db import connections

from bench.project import celery as celery  # the lane's app becomes the current one

django.setup()

from langgraph.checkpoint.postgres import PostgresSaver

import holdfast
from bench.drivers import serve
from bench.project import chains, stock
from bench.project.celery_setup import ends_path
from holdfast.persistence import DjangoSaver, codec, ledger
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import new_token
from holdfast.persistence.records import Session
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


def savers(rounds: int) -> dict[str, list[float]]:
    """Seconds a step with each saver, in turn; ten steps a round, in this process."""
    graph = chains.chain(10).compile()
    run = holdfast.enqueue("bench_ten", {"text": "saver"}, queue="nobody-consumes-this")
    claim = ledger.claim(
        run.id,
        token=new_token(),
        owner="bench",
        session=Session(pid=None, start=None),
        alone=True,
        known=[("bench_ten", "1")],
    )
    assert claim is not None
    found: dict[str, list[float]] = {"none": [], "stock": [], "fenced": []}
    with stock.connect() as connection:
        for number in range(rounds + 2):  # the first two prepare statements and warm caches
            fence = Fence(run.id, claim.token, run.thread_id, entered=number > 0)
            ways = {
                "none": None,
                "stock": PostgresSaver(connection),
                "fenced": DjangoSaver(serde=codec.codec(), fence=fence),
            }
            for name, saver in ways.items():
                config = {"configurable": {"thread_id": f"{name}-{number}"}}
                attached = graph.copy({"checkpointer": saver})
                began = time.perf_counter()
                attached.invoke({"text": "step"}, config, durability="sync" if saver else None)
                if number > 1:
                    found[name].append((time.perf_counter() - began) / 10)
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
            "savers": savers,
        }
    )
