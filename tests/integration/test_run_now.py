"""``run_now`` inside of a test's transaction, whose rows nobody else can see."""

from __future__ import annotations

import operator
import uuid
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.func import task as plain_task
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy

import holdfast
from holdfast.graphs import registry
from holdfast.graphs.examples.models import Publication
from holdfast.persistence import DjangoCache
from holdfast.persistence.models import Effect, NodeCacheEntry, NodeFlight
from holdfast.persistence.records import Run
from holdfast.testing import run_now

pytestmark = pytest.mark.django_db  # each test runs in a transaction that is rolled back


class Seen(TypedDict, total=False):
    """What nodes and tasks saw of the test's rows."""

    counts: Annotated[list[int], operator.add]


def published() -> int:
    """How many publications this thread's connection sees."""
    return Publication.objects.count()


@holdfast.task(effect="transactional")
def publish(key: str, good: bool) -> int:
    """A row beside the test's own."""
    Publication.objects.create(key=key)
    if not good:
        raise ValueError("not this one")
    return published()


@holdfast.task
def count_keyed() -> int:
    """Seen from the thread of an effect."""
    return published()


@plain_task
def count_plain() -> int:
    """Seen from the thread of LangGraph's own task."""
    return published()


def executed(*nodes: Callable[[Any], Any]) -> Run:
    """A run of these nodes, all in parallel if there are several, with one row of the test's own before it."""
    name = f"seen-{uuid.uuid4().hex}"
    graph = StateGraph(Seen)
    for number, node in enumerate(nodes):
        graph.add_node(f"node{number}", node)
        graph.add_edge(START, f"node{number}")
        graph.add_edge(f"node{number}", END)
    registry.register(name)(lambda: graph)
    Publication.objects.create(key=name)
    return run_now(holdfast.enqueue(name, {"counts": []}))


def test_a_transactional_effect_joins_the_tests_transaction() -> None:
    """Its row, the ledger's and the run are there together."""
    run = executed(lambda _: {"counts": [publish("a", True).result()]})
    assert run.status == "succeeded", run.error
    assert run.result["counts"] == [2]
    assert Effect.objects.get(run_id=run.id).state == "done"
    assert published() == 2


def test_a_transactional_effect_that_raises_takes_only_its_own_rows_with_it() -> None:
    """The test's transaction stays usable."""
    run = executed(lambda _: {"counts": [publish("a", False).result()]})
    assert run.status == "failed"
    assert run.error is not None
    assert "not this one" in run.error["message"]
    assert published() == 1
    assert not Effect.objects.filter(run_id=run.id).exists()


def test_tasks_see_the_tests_rows_from_threads_of_their_own() -> None:
    """An effect's and a plain one's."""
    run = executed(lambda _: {"counts": [count_keyed().result(), count_plain().result()]})
    assert run.status == "succeeded", run.error
    assert run.result["counts"] == [1, 1]


def test_parallel_nodes_see_the_tests_rows() -> None:
    """Whichever threads they are on."""
    run = executed(*[lambda _: {"counts": [published()]}] * 5)
    assert run.status == "succeeded", run.error
    assert run.result["counts"] == [1] * 5


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_p5_cached_nodes_share_the_tests_connection_and_a_new_cache_version_computes_anew(
    asynchronous: bool,
) -> None:
    ran: list[str] = []

    def node(state: Seen) -> Seen:
        ran.append("node")
        return {"counts": [1]}

    async def anode(state: Seen) -> Seen:
        return node(state)

    def build() -> Any:
        graph = StateGraph(Seen)
        policy: CachePolicy[Any] = CachePolicy(key_func=lambda _: "same")
        for name in ("left", "right"):
            graph.add_node(name, anode if asynchronous else node, cache_policy=policy)
            graph.add_edge(START, name)
        return graph

    name = f"cached-{uuid.uuid4().hex}"
    for version, cache_version in (("1", None), ("2", None), ("3", "new"), ("4", "new")):
        registry.register(name, version=version, cache_version=cache_version)(lambda: build())
        run = run_now(holdfast.enqueue(name, {}))
        assert run.status == "succeeded", run.error
        assert run.result["counts"] == [1, 1]
    assert len(ran) == 4  # twice for each cache version: the nodes' names belong to their keys
    assert set(NodeCacheEntry.objects.values_list("version", "hits")) == {(name, 1), (f"{name}@new", 1)}
    assert not NodeFlight.objects.exists()


def test_a_cache_version_holds_for_a_cache_that_the_graph_brings() -> None:
    def node(state: Seen) -> Seen:
        return {"counts": [1]}

    def build() -> Any:
        graph = StateGraph(Seen)
        policy: CachePolicy[Any] = CachePolicy(key_func=lambda _: "same")
        graph.add_node("node", node, cache_policy=policy)
        graph.add_edge(START, "node")
        return graph.compile(cache=DjangoCache())

    name = f"brings-{uuid.uuid4().hex}"
    registry.register(name, cache_version="new")(build)
    for _ in range(2):
        assert run_now(holdfast.enqueue(name, {})).status == "succeeded"
    assert list(NodeCacheEntry.objects.values_list("version", "hits", "misses")) == [(f"{name}@new", 1, 1)]


@pytest.mark.parametrize("kind", ["async", "closure", "partial"])
def test_two_graphs_do_not_take_each_others_values_where_langgraph_cannot_tell_their_nodes_apart(
    kind: str,
) -> None:
    def build(model: int) -> Any:
        def node(state: Seen) -> Seen:
            return {"counts": [model]}

        async def anode(state: Seen) -> Seen:
            return {"counts": [model]}

        graph = StateGraph(Seen)
        policy: CachePolicy[Any] = CachePolicy()
        made = {"async": anode, "closure": node, "partial": partial(node)}[kind]
        graph.add_node("generate", made, cache_policy=policy)
        graph.add_edge(START, "generate")
        return graph

    name = f"model-{uuid.uuid4().hex}"
    for model in (1, 2):
        registry.register(f"{name}.{model}")(partial(build, model))
    for model in (1, 2, 1, 2):
        assert run_now(holdfast.enqueue(f"{name}.{model}", {})).result["counts"] == [model]
    assert sorted(NodeCacheEntry.objects.values_list("hits", "misses")) == [(1, 1), (1, 1)]
    assert NodeCacheEntry.objects.values("namespace", "key").distinct().count() == 1


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_two_subgraphs_do_not_take_each_others_values_either(asynchronous: bool) -> None:
    ran: list[int] = []

    def agent(model: int) -> Any:
        def node(state: Seen) -> Seen:
            ran.append(model)
            return {"counts": [model]}

        async def anode(state: Seen) -> Seen:
            return node(state)

        graph = StateGraph(Seen)
        policy: CachePolicy[Any] = CachePolicy(key_func=lambda _: "same")
        graph.add_node("generate", anode if asynchronous else node, cache_policy=policy)
        graph.add_edge(START, "generate")
        return graph.compile()

    def build() -> Any:
        graph = StateGraph(Seen)
        for model, name in enumerate(("reader", "writer")):
            graph.add_node(name, agent(model))
        return graph.add_edge(START, "reader").add_edge("reader", "writer")

    name = f"agents-{uuid.uuid4().hex}"
    registry.register(name)(build)
    results = [run_now(holdfast.enqueue(name, {})).result["counts"] for _ in range(2)]
    assert results[0] == results[1]
    assert (results[0][0], results[0][-1], ran) == (0, 1, [0, 1])
    assert sorted(NodeCacheEntry.objects.values_list("hits", "misses")) == [(1, 1), (1, 1)]
