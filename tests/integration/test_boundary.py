"""P7, P3: a drain between two calls of tasks stores what finished and nothing that was made of the cut."""

from __future__ import annotations

import asyncio
import logging
import operator
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.errors import GraphDrained
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.runtime import RunControl

from holdfast.persistence import DjangoSaver
from holdfast.persistence.connections import close_pools
from holdfast.persistence.fence import Fence
from holdfast.runner.runs import executors
from holdfast.runner.runs.attempt import Attempt, attempt_scope
from tests.integration.claims import claim

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _as_in_a_run(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The executors of a run, pools that are closed behind it, and no noise: a deploy is nothing to warn of."""
    executors.install()
    yield
    close_pools()
    warnings = [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in warnings] == []


class Attempts:
    """Attempts at one run, each with a control of its own, as in processes one after the other."""

    def __init__(self) -> None:
        self.fence = claim()
        self.control = RunControl()
        self.bodies: list[str] = []

    def next(self) -> None:
        self.fence = Fence(self.fence.run_id, self.fence.token, self.fence.thread_id, entered=True)
        self.control = RunControl()

    def drain(self) -> None:
        self.control.request_drain("shutdown")

    @contextmanager
    def attached(self, graph: Any) -> Iterator[tuple[Any, dict[str, Any], dict[str, Any]]]:
        attempt = Attempt(
            run_id=self.fence.run_id,
            thread_id=self.fence.thread_id,
            delivery=1,
            alias="default",
            owner="test",
            fence=self.fence,
            control=self.control,
        )
        config = {"configurable": {"thread_id": self.fence.thread_id}}
        graph = graph.copy({"checkpointer": DjangoSaver(fence=self.fence)})
        with attempt_scope(attempt):
            yield graph, config, {"durability": "sync", "control": self.control}

    def invoke(self, graph: Any, value: Any) -> Any:
        with self.attached(graph) as (attached, config, options):
            return attached.invoke(value, config, **options)


def five_calls(attempts: Attempts, drain_in: int, *, around: tuple[type[Exception], ...]) -> Any:
    @task
    def step(number: int) -> str:
        attempts.bodies.append(str(number))
        if number == drain_in and attempts.bodies.count(str(number)) == 1:
            attempts.drain()
        return f"done {number}"

    @entrypoint()
    def job(count: int) -> list[str]:
        results = []
        for number in range(count):
            try:
                results.append(step(number).result())
            except around:
                results.append("a fallback that nobody asked for")
        return results

    return job


@pytest.mark.parametrize("around", [(), (Exception,)])
@pytest.mark.parametrize("drain_in", [0, 2, 3])
def test_p7_p3_an_entrypoint_is_cut_between_two_tasks_even_if_it_catches_everything(
    around: tuple[type[Exception], ...], drain_in: int
) -> None:
    attempts = Attempts()
    job = five_calls(attempts, drain_in, around=around)
    with pytest.raises(GraphDrained):
        attempts.invoke(job, 5)
    assert attempts.fence.abandoned
    assert attempts.bodies == [str(number) for number in range(drain_in + 1)]
    attempts.next()
    assert attempts.invoke(job, None) == [f"done {number}" for number in range(5)]
    assert attempts.bodies == [str(number) for number in range(5)]


def test_p7_a_drain_in_the_last_task_lets_the_entrypoint_end() -> None:
    attempts = Attempts()
    assert attempts.invoke(five_calls(attempts, 4, around=()), 5) == [f"done {number}" for number in range(5)]
    assert not attempts.fence.abandoned


def test_p7_p3_an_async_entrypoint_is_cut_too() -> None:
    attempts = Attempts()

    @task
    async def step(number: int) -> str:
        attempts.bodies.append(str(number))
        if number == 1 and attempts.bodies.count("1") == 1:
            attempts.drain()
        return f"done {number}"

    @entrypoint()
    async def job(count: int) -> list[str]:
        results = []
        for number in range(count):
            try:
                results.append(await step(number))
            except Exception:  # what a careless node does
                results.append("a fallback that nobody asked for")
        return results

    def ainvoke(value: Any) -> Any:
        with attempts.attached(job) as (graph, config, options):
            return asyncio.run(graph.ainvoke(value, config, **options))

    with pytest.raises(GraphDrained):
        ainvoke(4)
    attempts.next()
    assert ainvoke(None) == [f"done {number}" for number in range(4)]
    assert attempts.bodies == ["0", "1", "2", "3"]


class State(TypedDict):
    done: Annotated[list[str], operator.add]


def test_p3_what_is_under_way_beside_the_cut_ends_and_is_stored() -> None:
    attempts = Attempts()
    cut = threading.Event()

    def counted(name: str) -> None:
        attempts.bodies.append(name)

    @task
    def call(number: int) -> str:
        counted(f"call {number}")
        if number == 0 and attempts.bodies.count("call 0") == 1:
            attempts.drain()
        return f"call {number}"

    def caller(state: State) -> dict[str, Any]:
        first = call(0).result()
        try:
            return {"done": [first, call(1).result()]}
        finally:
            cut.set()

    def beside(state: State) -> dict[str, Any]:
        counted("beside")
        assert cut.wait(30)
        return {"done": ["beside"]}

    def after(state: State) -> dict[str, Any]:
        return {"done": ["after"]}

    graph = StateGraph(State)
    nodes: list[tuple[str, Callable[[State], dict[str, Any]]]] = [("caller", caller), ("beside", beside)]
    for name, node in nodes:
        graph.add_node(name, node)
        graph.add_edge(START, name)
    graph.add_node("after", after)
    graph.add_edge(["caller", "beside"], "after")
    compiled = graph.compile()
    with pytest.raises(GraphDrained):
        attempts.invoke(compiled, {"done": []})
    assert sorted(attempts.bodies) == ["beside", "call 0"]
    attempts.next()
    result = attempts.invoke(compiled, None)
    assert sorted(result["done"]) == ["after", "beside", "call 0", "call 1"]
    assert sorted(attempts.bodies) == ["beside", "call 0", "call 1"]
