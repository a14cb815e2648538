"""Times the saver beside stock PostgresSaver, in turn and in one process: steps, threads, long histories, disk."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
from django.db import connections
from django.test import override_settings
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

import holdfast
from bench.drivers.memory import in_a_child, memory
from bench.project import chains, stock
from holdfast.persistence import DjangoSaver, codec, ledger
from holdfast.persistence.connections import close_pools, connect
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import new_token
from holdfast.persistence.records import Claim, Session
from holdfast.runner.runs import executors
from holdfast.runner.runs.attempt import Attempt, attempt_scope
from holdfast.testing import run_now

Saver = BaseCheckpointSaver[Any]

LONG, SHORT = 10_000, 10
"""Checkpoints of the threads that are read."""
WARM = 3
"""Rounds that are not counted: they prepare statements and fill caches."""

_VERSION = f"{1:032}.{0:016}"
_THREADS = {LONG: "long", SHORT: "short"}

executors.install()


def steps(rounds: int, size: int) -> dict[str, list[float]]:
    """Seconds a step of ten nodes that each leave ``size`` bytes more in the state, by the clock; ours as in a run."""
    graph = chains.chain(10, size).compile()
    claim = claimed()
    found: dict[str, list[float]] = {"none": [], "stock": [], "fenced": [], "relaxed": []}
    with _stock_connection() as connection:
        for number in range(rounds + WARM):
            of_run = (claim.run.id, claim.token, claim.run.thread_id)
            fence = Fence(*of_run, entered=number > 0, era=claim.era)
            ways: dict[str, Saver | None] = {
                "none": None,
                "stock": PostgresSaver(connection),
                "fenced": DjangoSaver(serde=codec.codec(), fence=fence),
                "relaxed": DjangoSaver(serde=codec.codec(), fence=fence, commit="relaxed"),
            }
            for name in sorted(ways, reverse=bool(number % 2)):
                saver = ways[name]
                config: Any = {"configurable": {"thread_id": f"{name}-{uuid4()}"}}
                attached = graph.copy({"checkpointer": saver})
                began = time.perf_counter()
                with as_in_a_run(claim, fence) if name in ("fenced", "relaxed") else _as_it_is():
                    attached.invoke({"text": "step"}, config, durability="sync" if saver else None)
                if number >= WARM:
                    found[name].append((time.perf_counter() - began) / 10)
    return found


def parallel(rounds: int, seconds: float, threads: int) -> dict[str, list[float]]:
    """Writes a second of threads that share one saver object, on a pool of as many connections."""
    found: dict[str, list[float]] = {"stock": [], "ours": []}
    with _pool_of(threads), _stock_pool(threads) as pool:
        savers: dict[str, Saver] = {"stock": PostgresSaver(pool), "ours": DjangoSaver()}
        for _ in range(rounds):
            for name, saver in savers.items():
                found[name].append(_writes_a_second(saver, seconds, threads))
    return found


def newest(rounds: int) -> dict[str, list[float]]:
    """Seconds to read the newest checkpoint of a long and of a short thread."""
    _make_threads()
    found: dict[str, list[float]] = {name: [] for name in _THREADS.values()}
    saver = DjangoSaver()
    for number in range(rounds + WARM):
        for name in found:
            began = time.perf_counter()
            assert saver.get_tuple(_config(name)) is not None
            if number >= WARM:
                found[name].append(time.perf_counter() - began)
    return found


def listing(limit: int | None) -> dict[str, float]:
    """Megabytes that a process grows by at most while it goes through the long thread's list."""
    _make_threads()
    found = {}
    for name in ("stock", "ours"):
        close_pools()
        connections.close_all()
        found[name] = in_a_child(lambda name=name: _growth(name, limit))
    return found


def disk(turns: int, size: int) -> dict[str, float]:
    """Bytes of a conversation's rows, a run a turn, under history="latest" and with stock; and of its last state."""
    thread = f"chat-{uuid4()}"
    for number in range(turns):
        run = run_now(holdfast.enqueue("bench_chat", _turn(number, size), thread_id=thread))
        assert run.status == "succeeded", run.error
    ours = _bytes(thread)
    with stock.connect() as connection:
        graph = chains.chat().compile(checkpointer=PostgresSaver(connection))
        for number in range(turns):
            graph.invoke(_turn(number, size), _config(f"stock-{thread}"), durability="sync")
    state = sum(len(codec.codec().dumps_typed(value)[1]) for value in holdfast.state(thread).values.values())
    return {"ours": ours, "stock": _bytes(f"stock-{thread}"), "state": float(state)}


def _turn(number: int, size: int) -> Any:
    return {"said": [f"{number} " + os.urandom(size // 2).hex()]}


def _config(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


def claimed() -> Claim:
    run = holdfast.enqueue("bench_ten", {"text": "saver"}, queue="nobody-consumes-this")
    ledger.sweep_lost()  # which notes the server's incarnation, as any worker's does
    session = Session(pid=None, start=None)
    known = [("bench_ten", "1")]
    claim = ledger.claim(run.id, token=new_token(), owner="bench", session=session, alone=True, known=known)
    assert claim is not None
    return claim


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def as_in_a_run(claim: Claim, fence: Fence) -> Iterator[None]:
    run = claim.run
    attempt = Attempt(
        run_id=run.id, thread_id=run.thread_id, delivery=1, alias="default", owner="bench", fence=fence
    )
    with attempt_scope(attempt):
        yield


@contextmanager
def _stock_connection() -> Iterator[psycopg.Connection[DictRow]]:
    """With tables of its own, as upstream's ``setup()`` makes them."""
    with stock.connect() as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS stock")
        connection.execute("SET search_path = stock")
        PostgresSaver(connection).setup()
        yield connection


@contextmanager
def _pool_of(size: int) -> Iterator[None]:
    close_pools()
    with override_settings(HOLDFAST={"POOL_SIZE": size}):
        yield
        close_pools()


def _stock_pool(size: int) -> ConnectionPool[Any]:
    with _stock_connection():  # its tables are there
        pass
    kwargs = {**stock.address(), "autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    kwargs["options"] = "-c search_path=stock"
    return ConnectionPool("", min_size=size, max_size=size, kwargs=kwargs, open=True)


def _writes_a_second(saver: Saver, seconds: float, threads: int) -> float:
    counts = [0] * threads
    start, end = threading.Barrier(threads), time.perf_counter() + seconds

    def work(number: int) -> None:
        config = _config(str(uuid4()))
        start.wait()
        while time.perf_counter() < end:
            config = _put(saver, config, {"items": [1, 2, 3]})
            saver.put_writes(config, [("items", [4])], str(uuid4()))
            counts[number] += 2

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    began = time.perf_counter()
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    return sum(counts) / (time.perf_counter() - began)


def _put(saver: Saver, config: Any, values: dict[str, Any]) -> Any:
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = values
    checkpoint["channel_versions"] = dict.fromkeys(values, saver.get_next_version(None, None))
    return saver.put(config, checkpoint, {}, checkpoint["channel_versions"])


def _make_threads() -> None:
    """The threads that are read, once a database."""
    with connect("default") as connection:
        connection.execute("SET synchronous_commit = off")  # they are made, not timed
        saver = DjangoSaver(connection=connection)
        for count, name in _THREADS.items():
            if saver.get_tuple(_config(name)) is not None:
                continue
            config = _config(name)
            for number in range(count):
                config = _put(saver, config, {"items": [number] * 100, "text": "x" * 200})
                saver.put_writes(config, [("items", [number])], "task")
        connection.execute("ANALYZE checkpoints, checkpoint_blobs, checkpoint_writes")


def _growth(name: str, limit: int | None) -> float:
    with stock.connect() as connection:
        saver: Saver = PostgresSaver(connection) if name == "stock" else DjangoSaver()
        for _ in range(5):
            assert saver.get_tuple(_config("long")) is not None
        before = memory("VmRSS")
        with open("/proc/self/clear_refs", "w") as reset:  # the high-water mark begins here
            reset.write("5")
        for _ in saver.list(_config("long"), limit=limit):
            pass
        return max(memory("VmHWM") - before, 0.1)


_ROWS = """
SELECT (SELECT coalesce(sum(pg_column_size(c.*)), 0) FROM checkpoints c WHERE thread_id = %(thread)s)
     + (SELECT coalesce(sum(pg_column_size(b.*)), 0) FROM checkpoint_blobs b WHERE thread_id = %(thread)s)
     + (SELECT coalesce(sum(pg_column_size(w.*)), 0) FROM checkpoint_writes w WHERE thread_id = %(thread)s)
"""


def _bytes(thread: str) -> float:
    with connections["default"].cursor() as cursor:
        cursor.execute(_ROWS, {"thread": thread})
        return float(cursor.fetchone()[0])
