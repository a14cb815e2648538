"""Builds one stored object from its parts, once its type has been allowed.

It never decides whether a type may be built (the codec does) and never falls back to a plain dict
or to None: what cannot be built raises TypeNotAllowedError.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_KW_ARGS,
    EXT_CONSTRUCTOR_POS_ARGS,
    EXT_CONSTRUCTOR_SINGLE_ARG,
    EXT_METHOD_SINGLE_ARG,
    EXT_PYDANTIC_V1,
    EXT_PYDANTIC_V2,
)
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.types import Send

from holdfast.errors import TypeNotAllowedError

_CODES = frozenset(
    {
        EXT_CONSTRUCTOR_SINGLE_ARG,
        EXT_CONSTRUCTOR_POS_ARGS,
        EXT_CONSTRUCTOR_KW_ARGS,
        EXT_METHOD_SINGLE_ARG,
        EXT_PYDANTIC_V1,
        EXT_PYDANTIC_V2,
    }
)


class Payload(NamedTuple):
    """An extension of LangGraph's msgpack form: a type, its argument(s), and how they are passed."""

    code: int
    module: str
    name: str
    argument: Any
    rest: tuple[Any, ...]

    @classmethod
    def parse(cls, code: int, payload: Any) -> Payload:
        """Raises TypeNotAllowedError for a code or a shape that LangGraph does not write."""
        if code not in _CODES or not isinstance(payload, (list, tuple)) or not 3 <= len(payload) <= 5:
            raise TypeNotAllowedError(
                f"The stored value has an extension of the unknown kind {code}.",
                type=f"msgpack extension {code}",
                setting="SERIALIZABLE",
            )
        module, name, argument, *rest = payload
        return cls(code, str(module), str(name), argument, tuple(rest))

    @property
    def method(self) -> str | None:
        """The method that is to build it, where one is named."""
        return self.rest[0] if self.rest else None


def rebuild(kind: Callable[..., Any], part: Payload) -> Any:
    """The object. Raises TypeNotAllowedError when its own constructor refuses the stored parts."""
    try:
        return _construct(kind, part)
    except Exception as error:  # a user's constructor raises anything; all of it means the same here
        raise TypeNotAllowedError(
            f"A stored {part.module}.{part.name} cannot be rebuilt: {type(error).__name__}: {error}. "
            "Was the type changed since it was stored?",
            type=f"{part.module}.{part.name}",
            setting="SERIALIZABLE",
        ) from error


def _construct(kind: Any, part: Payload) -> Any:
    argument = part.argument
    if part.code == EXT_CONSTRUCTOR_SINGLE_ARG:
        return kind(argument)
    if part.code == EXT_METHOD_SINGLE_ARG:
        return getattr(kind, str(part.method))(argument)
    if part.code == EXT_CONSTRUCTOR_POS_ARGS:
        if kind is Send and len(argument) == 3:
            return Send(argument[0], argument[1], timeout=argument[2])
        return kind(*argument)
    if part.code == EXT_PYDANTIC_V2 and _is_model(kind):
        from holdfast.persistence.codec.pydantic_models import build

        return build(kind, argument, part.rest[1] if len(part.rest) > 1 else None)
    if part.code == EXT_CONSTRUCTOR_KW_ARGS and dataclasses.is_dataclass(kind):
        return _dataclass(kind, {**argument, **(part.rest[0] if part.rest else {})})
    try:
        return kind(**argument)
    except Exception:  # whatever a validator or constructor raises
        if part.code == EXT_PYDANTIC_V1:
            return kind.construct(**argument)
        raise


def _is_model(kind: Any) -> bool:
    return hasattr(kind, "__pydantic_fields__") and hasattr(kind, "__pydantic_root_model__")


def _dataclass(kind: Any, argument: dict[str, Any]) -> Any:
    """By its constructor, and then the fields that it does not take; or, if it wants something else, as it was."""
    fields = dataclasses.fields(kind)
    later = {field.name for field in fields if not field.init} & argument.keys()
    try:
        made = kind(**{name: value for name, value in argument.items() if name not in later})
    except Exception:  # a constructor that wants something else raises anything
        if {field.name for field in fields} != set(argument):
            raise
        made, later = object.__new__(kind), set(argument)
    for name in later:
        object.__setattr__(made, name, argument[name])
    return made


def rebuild_snapshot(value: Any) -> Any:
    """The stored state of a DeltaChannel."""
    return _DeltaSnapshot(value)


def rebuild_array(payload: Any) -> Any:
    """A NumPy array of a plain dtype. Raises TypeNotAllowedError for arrays of Python objects."""
    try:
        return import_module("holdfast.persistence.codec.numeric").build_array(payload)
    except Exception as error:  # NumPy is not there, or the payload is not what an array is stored as
        raise TypeNotAllowedError(
            f"A stored NumPy array cannot be rebuilt: {type(error).__name__}: {error}.",
            type="numpy.ndarray",
            setting="SERIALIZABLE",
        ) from error
