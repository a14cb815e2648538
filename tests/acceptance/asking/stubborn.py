"""Graphs whose nodes behave as no node should: they exit, or hold the interpreter for themselves."""

from __future__ import annotations

import os
import re
import sys
from typing import Any, Required, TypedDict

from langgraph.graph import START, StateGraph

from holdfast.graphs.registry import register
from tests.acceptance.gates import wait_at


class Whim(TypedDict, total=False):
    """Where the nodes leave their marks."""

    log: Required[str]
    """A file that gets one line ``<process id>`` for each execution."""
    gate: str
    """A file that the patient node waits for."""


Graph = StateGraph[Whim, None, Whim, Whim]


def _mark(state: Whim) -> None:
    with open(state["log"], "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")


def _graph(node: Any) -> Graph:
    graph = StateGraph(Whim)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    return graph


@register("stubborn.exit")
def exiting() -> Graph:
    """Ends with an exit status, as a script does."""

    def node(state: Whim) -> Whim:
        _mark(state)
        sys.exit(3)

    return _graph(node)


@register("stubborn.async_exit")
def async_exiting() -> Graph:
    """The same on the event loop."""

    async def node(state: Whim) -> Whim:
        _mark(state)
        sys.exit(3)

    return _graph(node)


@register("stubborn.patient")
def patient() -> Graph:
    """Waits for its gate."""

    def node(state: Whim) -> dict[str, Any]:
        _mark(state)
        wait_at(state["gate"])
        return {}

    return _graph(node)


@register("stubborn.greedy")
def greedy() -> Graph:
    """An expression that backtracks for ever; no other thread of the process runs meanwhile."""

    def node(state: Whim) -> dict[str, Any]:
        _mark(state)
        re.match(r"(a+)+$", "a" * 64 + "b")
        return {}

    return _graph(node)
