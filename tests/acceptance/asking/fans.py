"""Graphs that fan out wider than may execute at once: sibling 0 ends at once, all others wait for a file."""

from __future__ import annotations

import operator
import os
from typing import Annotated, Any, Required, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from holdfast.graphs.registry import register
from tests.acceptance.gates import await_at, wait_at


class Fan(TypedDict, total=False):
    """How wide, and where its siblings meet."""

    width: Required[int]
    log: Required[str]
    """A file that gets a line ``begin 0 <sibling> <process id>`` or ``end …`` (see ExecutionLog)."""
    gate: Required[str]
    """The file that all siblings but the first wait for."""
    done: Annotated[list[int], operator.add]


class Sibling(TypedDict):
    """One of them."""

    fan: Fan
    index: int


def _say(sibling: Sibling, what: str) -> None:
    descriptor = os.open(sibling["fan"]["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(
        descriptor, f"{what} 0 {sibling['index']} {os.getpid()}\n".encode()
    )  # one write: lines do not mix
    os.close(descriptor)


def work(sibling: Sibling) -> dict[str, Any]:
    """On a thread."""
    _say(sibling, "begin")
    if sibling["index"] > 0:
        wait_at(sibling["fan"]["gate"])
    _say(sibling, "end")
    return {"done": [sibling["index"]]}


async def awork(sibling: Sibling) -> dict[str, Any]:
    """On the event loop."""
    _say(sibling, "begin")
    if sibling["index"] > 0:
        await await_at(sibling["fan"]["gate"])
    _say(sibling, "end")
    return {"done": [sibling["index"]]}


def _fan(node: Any) -> StateGraph[Fan, None, Fan, Fan]:
    graph = StateGraph(Fan)
    graph.add_node("work", node)
    graph.add_conditional_edges(
        START, lambda fan: [Send("work", {"fan": fan, "index": index}) for index in range(fan["width"])]
    )
    graph.add_edge("work", END)
    return graph


@register("fan")
def fan() -> StateGraph[Fan, None, Fan, Fan]:
    """Sync siblings."""
    return _fan(work)


@register("fan_async")
def fan_async() -> StateGraph[Fan, None, Fan, Fan]:
    """Async siblings."""
    return _fan(awork)
