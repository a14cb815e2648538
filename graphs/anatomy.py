"""Looks into a compiled graph: its subgraphs, its tasks, what runs only async, which types it stores.

It reads and never runs: no node, no reducer, no saver. Everything that LangGraph itself finds is
found, by the same means (what a node's function captures or names as a global); a subgraph that is
reached through a further helper function is invisible to LangGraph and to this module alike.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import (
    Runnable,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase
from langgraph._internal._runnable import RunnableCallable, RunnableSeq
from langgraph._internal._serde import build_serde_allowlist
from langgraph.constants import START
from langgraph.func import _TaskFunction
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.pregel._utils import get_function_nonlocals


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One thing found in a graph. ``path`` names the nodes that lead to it; () is the graph itself.

    ``mentioned``: reached through a function's own names, so that whoever calls it, and how, is the
    function's affair; otherwise LangGraph itself runs it.
    """

    path: tuple[str, ...]
    value: Any
    mentioned: bool


def parts(graph: Pregel[Any, Any, Any, Any]) -> Iterator[Part]:
    """Yield the graph and all that is in it, each object once, the graph first."""
    seen: set[int] = set()
    waiting = [Part(path=(), value=graph, mentioned=False)]
    while waiting:
        part = waiting.pop(0)
        if id(part.value) in seen:
            continue
        seen.add(id(part.value))
        yield part
        waiting.extend(_inside(part))


def _inside(part: Part) -> Iterator[Part]:
    value = part.value
    if isinstance(value, Pregel):
        for name, node in value.nodes.items():
            for inner in (node.bound, *node.subgraphs):
                yield Part(path=(*part.path, name), value=inner, mentioned=part.mentioned)
        if isinstance(value, CompiledStateGraph):
            for name, branches in value.builder.branches.items():
                for branch in branches.values():
                    yield Part(path=(*part.path, name), value=branch.path, mentioned=part.mentioned)
        return
    for inner in _steps(value):
        yield Part(path=part.path, value=inner, mentioned=part.mentioned)
    for function in _functions(value):
        for name in get_function_nonlocals(function):
            inner = getattr(name, "__self__", name)
            if isinstance(inner, (Runnable, _TaskFunction)) or _is_wrapper(inner):
                yield Part(path=part.path, value=inner, mentioned=True)


def _steps(value: Any) -> list[Any]:
    """The runnables that LangChain's own compositions are made of."""
    match value:
        case RunnableSeq() | RunnableSequence():
            return list(value.steps)
        case RunnableParallel():
            return list(value.steps__.values())
        case RunnableBindingBase():
            return [value.bound]
        case RunnableWithFallbacks():
            return [value.runnable, *value.fallbacks]
        case RunnableBranch():
            return [*(step for pair in value.branches for step in pair), value.default]
        case RunnableLambda():
            return list(value.deps)
        case _:
            return []


def _functions(value: Any) -> list[Callable[..., Any]]:
    if isinstance(value, (RunnableCallable, RunnableLambda)):
        found = (getattr(value, "func", None), getattr(value, "afunc", None))
        return [function for function in found if function is not None]
    if isinstance(value, _TaskFunction):
        return [value.func]
    if _is_wrapper(value):
        return [inspect.unwrap(value)]
    return []


def _is_wrapper(value: Any) -> bool:
    """A decorated function, such as a task of ours, under which the real function lies."""
    return callable(value) and not isinstance(value, type) and hasattr(value, "__wrapped__")


def only_async(part: Part) -> bool:
    """Whether LangGraph cannot run this part under ``invoke``.

    A runnable that a function merely mentions is called by that function, which knows how; a task
    that it mentions is called by LangGraph, which refuses async tasks in a sync run.
    """
    value = part.value
    if isinstance(value, _TaskFunction):
        return inspect.iscoroutinefunction(inspect.unwrap(value.func))
    if _is_wrapper(value):
        return inspect.iscoroutinefunction(inspect.unwrap(value))
    if part.mentioned:
        return False
    if isinstance(value, RunnableCallable) and value.func is None:
        return True
    if isinstance(value, RunnableLambda) and not hasattr(value, "func"):
        return True
    tools = getattr(value, "tools_by_name", {})
    return isinstance(tools, dict) and any(
        getattr(tool, "func", ...) is None and getattr(tool, "coroutine", None) is not None
        for tool in tools.values()
    )


def stored_types(graph: Pregel[Any, Any, Any, Any]) -> frozenset[tuple[str, str]]:
    """``(module, name)`` of every type that the graph and its subgraphs declare.

    For a state graph it is what LangGraph derives at ``compile(checkpointer=…)``: the types in the
    schemas of state, input, output, context, nodes and branches, and in the channels. Beyond that:
    the annotations of entrypoints and tasks, also where they are strings, because what those return
    is stored too.
    """
    found: set[tuple[str, ...]] = set()
    for part in parts(graph):
        schemas: list[Any] = []
        channels: dict[str, Any] = {}
        if isinstance(part.value, Pregel):
            channels = dict(part.value.channels)
            schemas.append(part.value.context_schema)
        if isinstance(part.value, CompiledStateGraph):
            builder = part.value.builder
            schemas += [builder.state_schema, builder.input_schema, builder.output_schema]
            schemas += [node.input_schema for node in builder.nodes.values()]
            schemas += [
                branch.input_schema for branches in builder.branches.values() for branch in branches.values()
            ]
        elif isinstance(part.value, Pregel):
            for function in entrypoint_functions(part.value):
                schemas += hints(function).values()
        elif isinstance(part.value, _TaskFunction) or _is_wrapper(part.value):
            schemas += [hints(function).get("return") for function in _functions(part.value)]
        found |= build_serde_allowlist(schemas=schemas, channels=channels)
    return frozenset((entry[0], entry[1]) for entry in found)


def entrypoint_functions(graph: Pregel[Any, Any, Any, Any]) -> list[Callable[..., Any]]:
    """The function under ``@entrypoint``; empty for any other sort of graph."""
    if isinstance(graph, CompiledStateGraph) or graph.input_channels != START or len(graph.nodes) != 1:
        return []
    bound = next(iter(graph.nodes.values())).bound
    return _functions(bound)[:1] if isinstance(bound, RunnableCallable) else []


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The function's annotations, resolved; those it has, as they stand, if one does not resolve."""
    function = inspect.unwrap(function)
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        found = dict(getattr(function, "__annotations__", {}))
        return {name: hint for name, hint in found.items() if not isinstance(hint, str)}
