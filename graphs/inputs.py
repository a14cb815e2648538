"""Does a graph's input schema accept a value? Asked before anything is written (P11).

LangGraph itself checks little: a key that is no channel is dropped without a word, a missing one
is found by whichever node reads it, hours later. The rules here, by kind of graph:

- **State graph.** A dict (or an instance of the schema class). Every key must be a key of the
  input schema, every value of its type; ``{}`` is a valid input. Keys of a TypedDict are optional,
  as in LangGraph, unless marked ``Required[…]``; fields without default of a pydantic model or a
  dataclass are demanded. With ``partial`` (the thread has a state already) nothing is demanded.
- **Values.** A pydantic schema judges as itself, since LangGraph builds it for the nodes and so
  converts. Elsewhere nothing is converted and ``typecheck`` has the say. Under a reducer:
  ``add_messages`` takes all of LangChain's short forms, a function of ``operator`` takes the
  declared type, any other reducer is the judge of its own updates. ``Overwrite(…)`` may stand for
  the value of a reduced key.
- **Entrypoint.** The value must have the type of the function's first parameter, as it is: a dict
  is no model there, because LangGraph hands it over unchanged. A TypedDict's keys are demanded as
  Python means them.
- **None and Command** start nothing and are refused everywhere. (A run that goes on from where its thread stands has
  no input; ``runner/runs/going_on.py`` looks at that, and does not ask here.)
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, Required, get_origin

from langchain_core.messages import convert_to_messages
from langgraph.channels import BinaryOperatorAggregate, EphemeralValue, LastValue, UntrackedValue
from langgraph.channels.any_value import AnyValue
from langgraph.channels.base import BaseChannel
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command, Overwrite
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.dataclasses import is_pydantic_dataclass
from typing_extensions import is_typeddict

from holdfast.errors import InvalidInputError
from holdfast.graphs import anatomy
from holdfast.graphs.typecheck import Mismatch, described, is_dataclass_type, mismatch, resolved, typed_dict

ROOT = "__root__"
_OVERWRITE = "__overwrite__"
_UNREDUCED = (LastValue, EphemeralValue, UntrackedValue, AnyValue)


def check(graph: Pregel[Any, Any, Any, Any], value: Any, *, name: str, partial: bool = False) -> None:
    """Raise InvalidInputError, whose ``field`` is a dotted path from ``input``, or return."""
    try:
        found = _find(graph, value, partial)
    except RecursionError:
        found = Mismatch((), "is nested too deeply, or contains itself")
    if found is None:
        return
    field = ".".join(map(str, ("input", *found.path)))
    raise InvalidInputError(
        f"The graph {name!r} refuses its input: {field} {found.why}.", field=field, graph=name
    )


def _find(graph: Pregel[Any, Any, Any, Any], value: Any, partial: bool) -> Mismatch | None:
    if value is None:
        return Mismatch((), "is None, and nothing starts from None; send {} to a graph that needs no values")
    if isinstance(value, Command):
        return Mismatch(
            (), "is a Command; answer a run with holdfast.resume, change a thread with update_state"
        )
    if isinstance(graph, CompiledStateGraph):
        return _state(graph, value, partial)
    for function in anatomy.entrypoint_functions(graph):
        hint = next((h for key, h in anatomy.hints(function).items() if key != "return"), Any)
        return _typed_dict_or(hint, value)
    if isinstance(graph.input_channels, str):
        return mismatch(_update_type(graph.channels[graph.input_channels]), value)
    if not isinstance(value, dict):
        return Mismatch((), f"expected a dict, got {described(value)}")
    channels = {key: graph.channels[key] for key in graph.input_channels}
    return _unknown(value, channels, {}) or _values(value, channels, {})


def _update_type(channel: Any) -> Any:
    return getattr(channel, "UpdateType", Any)


def _typed_dict_or(hint: Any, value: Any) -> Mismatch | None:
    return typed_dict(hint, value, closed=True) if is_typeddict(hint) else mismatch(hint, value)


def _state(graph: CompiledStateGraph[Any, Any, Any, Any], value: Any, partial: bool) -> Mismatch | None:
    schema: Any = graph.builder.input_schema
    channels = graph.builder.schemas[schema]
    if list(channels) == [ROOT]:
        return _update(channels[ROOT], schema, value, (ROOT,), root=True)
    if isinstance(schema, type) and not is_typeddict(schema) and isinstance(value, schema):
        return (
            None
            if _is_pydantic(schema)
            else _values(_of_instance(value, channels), channels, resolved(schema))
        )
    if not isinstance(value, dict):
        return Mismatch((), f"expected a dict with keys of {schema.__name__}, got {described(value)}")
    if found := _unknown(value, channels, graph.builder.channels):
        return found
    if not partial and (missing := [key for key in demanded(schema) if key not in value]):
        return Mismatch((missing[0],), "is missing")
    if _is_pydantic(schema):
        return _model(schema, channels, value, partial)
    return _values(value, channels, resolved(schema))


def _unknown(
    value: dict[Any, Any], channels: Mapping[str, Any], all_keys: Mapping[str, Any]
) -> Mismatch | None:
    """A key that LangGraph would drop. None of these is ever meant."""
    inputs = [key for key, channel in channels.items() if isinstance(channel, BaseChannel)]
    for key in value:
        if key in inputs:
            continue
        if key in all_keys:
            why = "is a key of the state, but not of the input"
        elif near := difflib.get_close_matches(str(key), inputs, n=1):
            why = f"is not a key of the input; did you mean {near[0]!r}?"
        else:
            why = "is not a key of the input"
        return Mismatch((str(key),), f"{why} (LangGraph would drop it); keys: {', '.join(inputs) or 'none'}")
    return None


def demanded(schema: Any) -> list[str]:
    """The keys that the input of a new thread must have."""
    if is_typeddict(schema):
        return [key for key, hint in resolved(schema).items() if get_origin(hint) is Required]
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return [key for key, field in schema.model_fields.items() if field.is_required()]
    if is_dataclass_type(schema):
        none = dataclasses.MISSING
        fields = dataclasses.fields(schema)
        return [f.name for f in fields if f.init and f.default is none and f.default_factory is none]
    return []


def _values(value: dict[str, Any], channels: Mapping[str, Any], hints: Mapping[str, Any]) -> Mismatch | None:
    for key, inner in value.items():
        channel = channels[key]
        hint = hints.get(key, _update_type(channel))
        if found := _update(channel, hint, inner, (key,)):
            return found
    return None


def _update(
    channel: Any, hint: Any, value: Any, path: tuple[str, ...], root: bool = False
) -> Mismatch | None:
    """Whether the channel takes the value as an update."""
    path = () if root else path
    if isinstance(channel, _UNREDUCED):
        return mismatch(hint, value, path)
    if isinstance(value, Overwrite):
        return mismatch(hint, value.value, path)
    if isinstance(value, dict) and set(value) == {_OVERWRITE}:
        return mismatch(hint, value[_OVERWRITE], (*path, _OVERWRITE))
    if takes_messages(channel):
        return _messages(value, path)
    if (
        isinstance(channel, BinaryOperatorAggregate)
        and getattr(channel.operator, "__module__", "") == "_operator"
    ):
        return mismatch(hint, value, path)
    return None


def takes_messages(channel: Any) -> bool:
    """Whether its reducer is LangGraph's own for messages, in whichever of its forms."""
    reducer = getattr(channel, "operator", None) or getattr(channel, "reducer", None)
    reducer = getattr(reducer, "func", reducer)  # add_messages(format=…) is a partial
    return getattr(reducer, "__module__", None) == add_messages.__module__


def _messages(value: Any, path: tuple[str | int, ...]) -> Mismatch | None:
    several = isinstance(value, list)
    for index, message in enumerate(value if several else [value]):
        try:
            convert_to_messages([message])
        except (ValueError, TypeError, NotImplementedError, KeyError) as error:
            why = str(error).splitlines()[0].rstrip(".")
            return Mismatch((*path, index) if several else path, f"is not a message: {why}")
    return None


def _is_pydantic(schema: Any) -> bool:
    return isinstance(schema, type) and (issubclass(schema, BaseModel) or is_pydantic_dataclass(schema))


def _of_instance(value: Any, channels: Mapping[str, Any]) -> dict[str, Any]:
    return {key: getattr(value, key) for key in channels if hasattr(value, key)}


def _model(schema: Any, channels: Mapping[str, Any], value: dict[str, Any], partial: bool) -> Mismatch | None:
    """Let the model judge the state that the first node would be given.

    Reduced keys are judged as updates, not by the model, which sees what the reducer made of them.
    """
    reduced = {key for key in value if not isinstance(channels[key], _UNREDUCED)}
    for key in sorted(reduced):
        if found := _update(channels[key], resolved(schema).get(key, Any), value[key], (key,)):
            return found
    given = _copied(value)
    for key in reduced:
        if takes_messages(channels[key]):
            given[key] = convert_to_messages(given[key] if isinstance(given[key], list) else [given[key]])
    try:
        if issubclass(schema, BaseModel):
            schema(**given)
        else:
            TypeAdapter(schema).validate_python(given)
    except ValidationError as error:
        for entry in error.errors(include_url=False, include_context=False, include_input=False):
            place = entry["loc"]
            whole = not place or (len(place) == 1 and entry["type"] == "missing")
            if (place and place[0] in reduced) or (partial and whole) or (reduced and not place):
                continue
            return Mismatch(tuple(place), f"is refused: {entry['msg']}")
    return None


def _copied(value: dict[str, Any]) -> dict[str, Any]:
    """A copy for validators that take what they are given apart."""
    try:
        return copy.deepcopy(value)
    except (TypeError, ValueError, AttributeError, copy.Error):
        return dict(value)
