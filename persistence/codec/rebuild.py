"""Builds one stored object from its parts, once its type has been allowed.

It never decides whether a type may be built (the codec does) and never falls back to a plain dict
or to None: what cannot be built raises TypeNotAllowedError.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import import_module
from typing import Any

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


@dataclasses.dataclass(frozen=True, slots=True)
class Payload:
    """An extension of LangGraph's msgpack form: a type, its argument(s), and how they are passed."""

    code: int
    module: str
    name: str
    argument: Any
    method: str | None

    @classmethod
    def parse(cls, code: int, payload: Any) -> Payload:
        """Raises TypeNotAllowedError for a code or a shape that LangGraph does not write."""
        if code not in _CODES or not isinstance(payload, (list, tuple)) or not 3 <= len(payload) <= 4:
            raise TypeNotAllowedError(
                f"The stored value has an extension of the unknown kind {code}.",
                type=f"msgpack extension {code}",
                setting="SERIALIZABLE",
            )
        module, name, argument, *method = payload
        return cls(code, str(module), str(name), argument, method[0] if method else None)


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
    try:
        return kind(**argument)
    except Exception:  # whatever a validator or constructor raises
        # A model whose rules have changed since, or a dataclass with fields that its constructor
        # does not take: the type and the values are right, so they are set without being asked.
        if part.code == EXT_PYDANTIC_V2:
            return kind.model_construct(**argument)
        if part.code == EXT_PYDANTIC_V1:
            return kind.construct(**argument)
        if dataclasses.is_dataclass(kind) and {f.name for f in dataclasses.fields(kind)} == set(argument):
            made = object.__new__(kind)  # type: ignore[arg-type]  # is_dataclass lets instances through, `resolve` none
            for name, value in argument.items():
                object.__setattr__(made, name, value)
            return made
        raise


def rebuild_snapshot(value: Any) -> Any:
    """The stored state of a DeltaChannel."""
    return _DeltaSnapshot(value)


def rebuild_array(payload: Any) -> Any:
    """A numpy array of a plain dtype. Raises TypeNotAllowedError for arrays of Python objects."""
    dtype, shape, order, buffer = payload
    if "O" in str(dtype):
        raise TypeNotAllowedError(
            "Numpy arrays of Python objects are neither stored nor loaded.",
            type="numpy.ndarray",
            setting="SERIALIZABLE",
        )
    numpy = import_module("numpy")  # installed, as somebody stored an array
    return numpy.frombuffer(buffer, dtype=numpy.dtype(dtype)).reshape(shape, order=order)
