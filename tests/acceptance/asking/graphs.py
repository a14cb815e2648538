"""Graphs that ask questions in every way that LangGraph knows.

Each question is a text of its own, and each graph returns ``answers``, what it was answered to each,
so that an answer that reached another question shows.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel
from langgraph.types import interrupt

from holdfast.graphs.registry import register
from tests.acceptance.asking import deaths as deaths  # registers its graphs
from tests.acceptance.asking import fans as fans
from tests.acceptance.asking import queries as queries
from tests.acceptance.asking import receivers as receivers
from tests.acceptance.asking import sharing as sharing
from tests.acceptance.asking import stubborn as stubborn


class State(TypedDict, total=False):
    """What was asked and answered."""

    answers: Annotated[dict[str, Any], operator.or_]
    done: Annotated[list[str], operator.add]
    """The nodes that finished: doubled or missing entries show here."""


Node = Callable[[State], dict[str, Any]]
Graph = StateGraph[State, None, State, State]
Compiled = Pregel[Any, Any, Any, Any]


def asking(name: str, *questions: str) -> Node:
    """A node that asks the questions one after the other."""

    def node(state: State) -> dict[str, Any]:
        return {"answers": {question: interrupt(question) for question in questions}, "done": [name]}

    return node


def chain(**nodes: Any) -> Graph:
    """The nodes one after the other."""
    graph = StateGraph(State)
    before = START
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(before, name)
        before = name
    return graph


def beside(**nodes: Any) -> Graph:
    """The nodes beside each other, then one that waits for all of them."""
    graph = StateGraph(State)
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(START, name)
    graph.add_node("join", asking("join"))
    graph.add_edge(list(nodes), "join")
    return graph


@register("asking.twice")
def twice() -> Graph:
    """One node that asks two questions in a row, between nodes that ask nothing."""
    return chain(first=asking("first"), pair=asking("pair", "one?", "two?"), last=asking("last"))


@register("asking.beside")
def two_beside() -> Graph:
    """Two nodes that ask at the same time, one of them twice, beside one that asks nothing."""
    return beside(left=asking("left", "l1?", "l2?"), right=asking("right", "r1?"), quiet=asking("quiet"))


@register("asking.below")
def below() -> Graph:
    """A subgraph with two questions in one node and, in its next, a subgraph of its own that asks."""
    deepest = chain(deep=asking("deep", "deep?")).compile()
    middle = chain(inner=asking("inner", "i1?", "i2?"), nested=deepest).compile()
    return chain(first=asking("first"), sub=middle, last=asking("last", "last?"))


@register("asking.below_beside")
def below_beside() -> Graph:
    """A subgraph that asks twice beside a node of the root that asks."""
    inner = chain(inner=asking("inner", "i1?", "i2?")).compile()
    return beside(sub=inner, root=asking("root", "r1?"))


@register("asking.called")
def called() -> Graph:
    """A node that calls a graph which asks, and then asks itself."""
    inner = chain(inner=asking("inner", "i1?", "i2?")).compile()

    def caller(state: State) -> dict[str, Any]:
        told = inner.invoke({"answers": {}, "done": []})
        return {"answers": {**told["answers"], "own?": interrupt("own?")}, "done": ["caller"]}

    return chain(caller=caller, last=asking("last"))


@register("asking.loop")
def loop() -> Graph:
    """One node that asks in each of three passes."""

    def node(state: State) -> dict[str, Any]:
        question = f"pass {len(state.get('done', []))}?"
        return {"answers": {question: interrupt(question)}, "done": [question]}

    graph = StateGraph(State)
    graph.add_node("again", node)
    graph.add_edge(START, "again")
    graph.add_conditional_edges("again", lambda state: END if len(state["done"]) == 3 else "again")
    return graph


@task
def ask_in_task(question: str) -> Any:
    """A task that asks."""
    return interrupt(question)


@task
def quiet_task(name: str) -> str:
    """A task that asks nothing."""
    return name


@entrypoint()
def asking_function(given: State) -> State:
    """The body asks, then two tasks at once, then the body again; quiet tasks between."""
    done = [quiet_task("first").result()]
    answers = {"b1?": interrupt("b1?")}
    asked = {question: ask_in_task(question) for question in ("t1?", "t2?")}
    done.append(quiet_task("second").result())
    answers |= {question: future.result() for question, future in asked.items()}
    answers["b2?"] = interrupt("b2?")
    return {"answers": answers, "done": done}


@register("asking.entrypoint")
def function() -> Compiled:
    """Questions inside an @entrypoint."""
    return asking_function


@register("asking.async")
def asynchronous() -> Graph:
    """``asking.beside`` with async nodes."""

    def again(name: str, *questions: str) -> Any:
        node = asking(name, *questions)

        async def anode(state: State) -> dict[str, Any]:
            return node(state)

        return anode

    return beside(left=again("left", "l1?", "l2?"), right=again("right", "r1?"), quiet=again("quiet"))


EXPECTED: dict[str, tuple[set[str], list[str]]] = {
    "asking.twice": ({"one?", "two?"}, ["first", "last", "pair"]),
    "asking.beside": ({"l1?", "l2?", "r1?"}, ["join", "left", "quiet", "right"]),
    "asking.below": ({"i1?", "i2?", "deep?", "last?"}, ["deep", *["first"] * 3, *["inner"] * 2, "last"]),
    "asking.below_beside": ({"i1?", "i2?", "r1?"}, ["inner", "join", "root"]),
    "asking.called": ({"i1?", "i2?", "own?"}, ["caller", "last"]),
    "asking.loop": ({"pass 0?", "pass 1?", "pass 2?"}, ["pass 0?", "pass 1?", "pass 2?"]),
    "asking.entrypoint": ({"b1?", "t1?", "t2?", "b2?"}, ["first", "second"]),
    "asking.async": ({"l1?", "l2?", "r1?"}, ["join", "left", "quiet", "right"]),
}
"""For each graph its questions, and what ``done`` holds in the end, sorted (a subgraph returns what it was given, too)."""
