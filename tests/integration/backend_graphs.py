"""Graphs for the contract of backends: a cached value with a type of its own, the store, asyncio, a bad value."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph
from langgraph.store.base import BaseStore
from langgraph.types import CachePolicy, interrupt
from pydantic import BaseModel

from holdfast import task
from holdfast.graphs.registry import register


class Point(BaseModel):
    """A type that only the graph's schema allows."""

    x: int
    y: int


class Found(TypedDict, total=False):
    log: str
    found: Point


class Words(TypedDict, total=False):
    word: str
    seen: list[str]


class Notes(TypedDict):
    notes: Annotated[list[str], operator.add]


class Anything(TypedDict):
    value: Any


class Unheard:
    """No form for it is known."""


@register("cached_backend")
def cached() -> StateGraph[Found]:
    """A value that takes long, and is the same for all."""

    def find(state: Found) -> Any:
        with Path(state["log"]).open("a") as log:
            log.write("once\n")
        return {"found": Point(x=1, y=2)}

    graph = StateGraph(Found)
    graph.add_node("find", find, cache_policy=CachePolicy(key_func=lambda state: state["log"]))
    graph.add_edge(START, "find")
    return graph


@register("storing_backend")
def storing() -> StateGraph[Words]:
    """Remembers words for the runs after it."""

    def remember(state: Words, store: BaseStore) -> Any:
        seen = [item.value["word"] for item in store.search(("words",))]
        store.put(("words",), state["word"], {"word": state["word"]})
        return {"seen": seen}

    graph = StateGraph(Words)
    graph.add_node("remember", remember)
    graph.add_edge(START, "remember")
    return graph


@register("async_backend")
def asynchronous() -> StateGraph[Notes]:
    """Two nodes side by side, and one after them."""

    def noting(name: str) -> Any:
        async def note(state: Notes) -> Any:
            return {"notes": [name]}

        return note

    graph = StateGraph(Notes)
    for name in ("left", "right", "end"):
        graph.add_node(name, noting(name))
    graph.add_edge(START, "left")
    graph.add_edge(START, "right")
    graph.add_edge(["left", "right"], "end")
    return graph


@register("unstorable_backend")
def unstorable() -> StateGraph[Anything]:
    """Returns what no run may store."""
    graph = StateGraph(Anything)
    graph.add_node("make", lambda state: {"value": Unheard()})
    graph.add_edge(START, "make")
    return graph


@register("asking_below")
def asking_below() -> StateGraph[Notes]:
    """A subgraph asks, while a sibling has finished."""

    def ask(state: Notes) -> Any:
        return {"notes": [f"asked {interrupt('below?')}"]}

    inner = StateGraph(Notes)
    inner.add_node("ask", ask)
    inner.add_edge(START, "ask")
    below = inner.compile()

    def call(state: Notes) -> Any:
        return {"notes": below.invoke({"notes": []})["notes"]}

    graph = StateGraph(Notes)
    graph.add_node("call", call)
    graph.add_node("quick", lambda state: {"notes": []})
    graph.add_edge(START, "call")
    graph.add_edge(START, "quick")
    return graph


@task
def send(text: str) -> str:
    """An effect."""
    return f"sent {text}"


@register("effects_backend")
def effects() -> StateGraph[Notes]:
    """One node has an effect and a question, in this order if it was not asked to be free of that."""

    def work(state: Notes) -> Any:
        sent = [] if "free" in state["notes"] else [send(state["notes"][0]).result()]
        return {"notes": [*sent, f"asked {interrupt('?')}"]}

    graph = StateGraph(Notes)
    graph.add_node("send", lambda state: {"notes": []})
    graph.add_node("work", work)
    graph.add_edge(START, "send")
    graph.add_edge("send", "work")
    return graph


def fold(current: list[str], updates: list[list[str]]) -> list[str]:
    """How a DeltaChannel's updates become its value."""
    return [*current, *(item for update in updates for item in update)]


class Deltas(TypedDict):
    items: Annotated[list[str], DeltaChannel(fold, snapshot_frequency=3)]


@register("delta_backend")
def deltas() -> StateGraph[Deltas]:
    """A list of which only what is new is stored, and the whole now and then."""
    graph = StateGraph(Deltas)
    before = START
    for number in range(5):
        name = f"n{number}"
        graph.add_node(name, lambda state, name=name: {"items": [name]})
        graph.add_edge(before, name)
        before = name
    return graph
