"""What a graph takes as its input, said for people and scripts: the keys, their types, and which are demanded.

``inputs`` is the judge of values; this only tells what it goes by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, Required, get_args, get_origin

from langgraph.channels.base import BaseChannel
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from typing_extensions import is_typeddict

from holdfast.graphs import anatomy, inputs
from holdfast.graphs.typecheck import demanded_keys, resolved


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key of the input."""

    name: str
    type: str
    required: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """The input: a dict of ``keys``, or, where a graph takes no dict, a value of ``type``."""

    type: str
    keys: tuple[Key, ...] = ()

    def __str__(self) -> str:
        """``request: str, amount?: float``; the question mark means that it may be left out."""
        if not self.keys:
            return self.type
        return ", ".join(f"{key.name}{'' if key.required else '?'}: {key.type}" for key in self.keys)


def signature(graph: Pregel[Any, Any, Any, Any]) -> Signature:
    """What the compiled graph takes."""
    if isinstance(graph, CompiledStateGraph):
        schema: Any = graph.builder.input_schema
        hints, needed = resolved(schema), inputs.demanded(schema)
        channels = graph.builder.schemas[schema]
        keys = [
            Key(
                name=name,
                type="messages" if inputs.takes_messages(channel) else type_name(hints.get(name, Any)),
                required=name in needed,
            )
            for name, channel in channels.items()
            if isinstance(channel, BaseChannel) and name != inputs.ROOT
        ]
        return Signature(type="dict" if keys else type_name(schema), keys=tuple(keys))
    for function in anatomy.entrypoint_functions(graph):
        hint = next((h for key, h in anatomy.hints(function).items() if key != "return"), Any)
        if not is_typeddict(hint):
            return Signature(type=type_name(hint))
        demanded = demanded_keys(hint)
        return Signature(
            type="dict",
            keys=tuple(
                Key(name=name, type=type_name(inner), required=name in demanded)
                for name, inner in resolved(hint).items()
            ),
        )
    return Signature(type="any")


def type_name(hint: Any) -> str:
    """A type as it is written in source, without its module and without marks such as Required."""
    while get_origin(hint) in (Annotated, Required, NotRequired):
        hint = get_args(hint)[0]
    if isinstance(hint, type) and not get_args(hint):
        return hint.__name__
    if hint is Any:
        return "any"
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(origin, type) and arguments and "Union" not in origin.__name__:
        return f"{origin.__name__}[{', '.join(map(type_name, arguments))}]"
    if arguments and not any(isinstance(argument, str | int) for argument in arguments):
        return " | ".join("None" if argument is type(None) else type_name(argument) for argument in arguments)
    return str(hint).replace("typing.", "")
