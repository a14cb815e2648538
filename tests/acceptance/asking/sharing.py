"""Graphs whose nodes and calls are cached, each value under a key that several runs share.

A value is computed until the file ``<gate>.<key>`` is there, and each computing gets a line ``begin 0 <key> <pid>``,
and ``end …``, in the log (see ExecutionLog).
"""

from __future__ import annotations

import asyncio
import operator
import os
import time
from typing import Annotated, Any, Required, TypedDict
from uuid import uuid4

from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy, Send

from holdfast.graphs.registry import register
from tests.acceptance.gates import await_at, wait_at


class Sharing(TypedDict, total=False):
    """Which values a run needs."""

    keys: Required[list[int]]
    gate: Required[str]
    """Also part of the values' keys, so that each test has its own."""
    fails: bool
    """Whether computing fails in the end."""
    seconds: float
    """How long computing takes, where there is no gate; then each has another value."""
    done: Annotated[list[str], operator.add]


class One(TypedDict):
    """One value."""

    sharing: Sharing
    key: int


def _say(one: One, what: str) -> None:
    log = f"{one['sharing']['gate']}.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, f"{what} 0 {one['key']} {os.getpid()}\n".encode())  # one write: lines do not mix
    os.close(descriptor)


def _value(one: One) -> dict[str, Any]:
    if one["sharing"].get("fails"):
        raise ValueError(f"value {one['key']} cannot be had")
    _say(one, "end")
    computing = f" in {uuid4()}" if "seconds" in one["sharing"] else ""
    return {"done": [f"{one['key']} of {os.getpid()}{computing}"]}


def node(one: One) -> dict[str, Any]:
    """On a thread."""
    _say(one, "begin")
    if "seconds" in one["sharing"]:
        time.sleep(one["sharing"]["seconds"])  # this is what computing takes
    else:
        wait_at(_key(one))
    return _value(one)


async def anode(one: One) -> dict[str, Any]:
    """On the event loop."""
    _say(one, "begin")
    if "seconds" in one["sharing"]:
        await asyncio.sleep(one["sharing"]["seconds"])  # this is what computing takes
    else:
        await await_at(_key(one))
    return _value(one)


def _key(one: One) -> str:
    return f"{one['sharing']['gate']}.{one['key']}"


def _fan(node: Any) -> StateGraph[Sharing, None, Sharing, Sharing]:
    graph = StateGraph(Sharing)
    graph.add_node("value", node, cache_policy=CachePolicy(key_func=_key))
    graph.add_conditional_edges(
        START, lambda sharing: [Send("value", {"sharing": sharing, "key": key}) for key in sharing["keys"]]
    )
    return graph


@register("sharing")
def sharing() -> StateGraph[Sharing, None, Sharing, Sharing]:
    """Sync nodes."""
    return _fan(node)


@register("sharing_async")
def sharing_async() -> StateGraph[Sharing, None, Sharing, Sharing]:
    """Async nodes."""
    return _fan(anode)


@task(cache_policy=CachePolicy(key_func=_key))
def call(one: One) -> list[str]:
    """A cached call."""
    return list(node(one)["done"])


@register("sharing_calls")
@entrypoint()
def sharing_calls(sharing: Sharing) -> dict[str, Any]:
    """Calls, all begun before the first is awaited."""
    futures = [call({"sharing": sharing, "key": key}) for key in sharing["keys"]]
    return {"done": [done for future in futures for done in future.result()]}


@task(cache_policy=CachePolicy(key_func=lambda one, _: _key(one)))
def nested(one: One, others: list[int]) -> list[str]:
    """A cached call that needs the others' values first."""
    found = list(node(one)["done"])
    if others:
        found += nested({"sharing": one["sharing"], "key": others[0]}, others[1:]).result()
    return found


@register("sharing_nested")
@entrypoint()
def sharing_nested(sharing: Sharing) -> dict[str, Any]:
    """The first value, in which the second is needed, and so on."""
    first, *others = sharing["keys"]
    return {"done": nested({"sharing": sharing, "key": first}, others).result()}


for _name, _graph in (
    ("sharing", sharing),
    ("sharing_async", sharing_async),
    ("sharing_calls", sharing_calls),
):
    register(f"hardy_{_name}", max_crashes=1000)(_graph)
