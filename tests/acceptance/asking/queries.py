"""Graphs whose nodes use the ORM, before and after a gate that the test opens."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

from langgraph.graph import START, StateGraph

from holdfast.graphs.registry import register
from tests.acceptance.gates import wait_at


class Visit(TypedDict, total=False):
    """``gate``: a file that is there once the test lets the run go on."""

    gate: str
    before: int
    after: int


Graph = StateGraph[Visit, None, Visit, Visit]


def _count() -> Any:
    from django.contrib.auth.models import Group  # the registry's modules load before the models

    return Group.objects


def look(state: Visit) -> dict[str, Any]:
    """A query, which opens this thread's connection if it is not open."""
    return {"before": _count().count()}


def wait(state: Visit) -> None:
    """Until the gate is open."""
    wait_at(state["gate"])


def look_again(state: Visit) -> dict[str, Any]:
    """A query on the connection that was open before."""
    return {"after": _count().count()}


async def alook(state: Visit) -> dict[str, Any]:
    """``look`` with Django's async ORM."""
    return {"before": await _count().acount()}


async def await_(state: Visit) -> None:
    """``wait`` on a thread of the loop's, so that the loop is not held up."""
    await asyncio.to_thread(wait, state)


async def alook_again(state: Visit) -> dict[str, Any]:
    """``look_again`` with Django's async ORM."""
    return {"after": await _count().acount()}


def _chain(*nodes: Any) -> Graph:
    graph = StateGraph(Visit)
    names = ("look", "wait", "look_again")
    for before, name, node in zip((START, *names), names, nodes, strict=False):
        graph.add_node(name, node)
        graph.add_edge(before, name)
    return graph


@register("queries")
def queries() -> Graph:
    """Sync nodes."""
    return _chain(look, wait, look_again)


@register("queries.async")
def queries_async() -> Graph:
    """Async nodes, and a sync one between, which runs on a thread of the loop's."""
    return _chain(alook, wait, alook_again)


@register("queries.mixed")
def queries_mixed() -> Graph:
    """Sync nodes with queries in an async graph."""
    return _chain(look, await_, look_again)


@register("gates")
def gates() -> Graph:
    """Waits twice: ``gate``, then ``gate`` with ``.2`` behind."""

    def wait_again(state: Visit) -> None:
        wait({"gate": state["gate"] + ".2"})

    return _chain(look, wait, wait_again)
