"""Does a graph's input schema accept a value? Checked before anything is written (P11)."""

from __future__ import annotations

from typing import Any

from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command

from holdfast.errors import InvalidInputError


def check(graph: Pregel[Any, Any, Any, Any], value: Any, *, name: str, partial: bool = False) -> None:
    """Raise InvalidInputError unless the graph accepts the value."""
    if value is None or isinstance(value, Command):
        raise InvalidInputError(f"The graph {name!r} cannot start from {value!r}.", field="input")
    if isinstance(graph, CompiledStateGraph):
        keys = set(graph.builder.schemas[graph.builder.input_schema])
        if isinstance(value, dict) and (unknown := [key for key in value if key not in keys]):
            raise InvalidInputError(
                f"The graph {name!r} has no input key {unknown[0]!r}.", field=f"input.{unknown[0]}"
            )
