"""Does a value have the type that an annotation names? Looked at as it is: nothing is converted.

A graph hands its input to its nodes unchanged, so ``"3"`` is no int and a dict is no model. What
JSON cannot say is let through where it does no harm: an int for a float, a list for a tuple, the
plain value of a str or int enum. An annotation that cannot be judged (a TypeVar, a protocol, an
unresolved name) refuses nothing.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import enum
import types
import typing
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Required, Union, get_args, get_origin

import annotated_types
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import ReadOnly, is_typeddict

Path = tuple[str | int, ...]

_TRANSPARENT = (Required, NotRequired, ReadOnly, typing.Final, typing.ClassVar)
_LISTS = (
    list,
    collections.deque,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
)
_SETS = (set, frozenset, collections.abc.Set, collections.abc.MutableSet)


class Mismatch(NamedTuple):
    """Where in the value, and what is wrong there."""

    path: Path
    why: str


def mismatch(hint: Any, value: Any, path: Path = ()) -> Mismatch | None:
    """The first place at which the value is not what the annotation says, or None."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is None or hint is type(None):
        return None if value is None else _wrong(hint, value, path)
    if origin is Annotated:
        return mismatch(args[0], value, path) or _constraint(hint.__metadata__, value, path)
    if origin in _TRANSPARENT:
        return mismatch(args[0], value, path)
    if hasattr(hint, "__supertype__"):  # NewType
        return mismatch(hint.__supertype__, value, path)
    if hasattr(hint, "__value__"):  # type X = …
        return mismatch(hint.__value__, value, path)
    if origin is Union or isinstance(hint, types.UnionType):
        return _union(hint, args, value, path)
    if origin is Literal:
        same = any(value == arg and type(value) is type(arg) for arg in args)
        return None if same else _wrong(hint, value, path)
    if is_typeddict(origin or hint):
        return typed_dict(origin or hint, value, path)
    if origin is not None:
        return _generic(hint, origin, args, value, path)
    return _plain(hint, value, path)


def typed_dict(hint: Any, value: Any, path: Path = (), *, closed: bool = False) -> Mismatch | None:
    """The same for a TypedDict: its required keys and its values; with ``closed``, no further keys."""
    if not isinstance(value, dict):
        return Mismatch(path, f"expected a dict, got {described(value)}")
    fields = resolved(hint)
    for key in demanded_keys(hint):
        if key not in value:
            return Mismatch((*path, key), "is missing")
    for key, inner in value.items():
        if key in fields:
            if found := mismatch(fields[key], inner, (*path, key)):
                return found
        elif closed:
            return Mismatch((*path, str(key)), f"is not known; known: {', '.join(fields)}")
    return None


def demanded_keys(hint: Any) -> list[str]:
    """The keys that a dict of this TypedDict must have."""
    # __required_keys__ overlooks markers in annotations that are strings; the resolved ones tell
    fields = {key: get_origin(field) for key, field in resolved(hint).items()}
    return [
        key
        for key, marker in fields.items()
        if marker is Required or (key in hint.__required_keys__ and marker is not NotRequired)
    ]


def resolved(hint: Any) -> dict[str, Any]:
    """The annotations of a class, resolved, markers such as Required and Annotated kept."""
    try:
        return _resolved(hint)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return dict.fromkeys(getattr(hint, "__annotations__", {}), Any)


@lru_cache(maxsize=256)  # resolving takes as long as all the rest of looking at an input
def _resolved(hint: Any) -> dict[str, Any]:
    return typing.get_type_hints(hint, include_extras=True)


def described(value: Any) -> str:
    """A value for a message: its type, and itself where it is short."""
    if value is None:
        return "None"
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 60 else type(value).__name__


def _named(hint: Any) -> str:
    if hint is None or hint is type(None):
        return "None"
    if get_origin(hint) is Annotated:
        return _named(get_args(hint)[0])
    if get_origin(hint) is Union or isinstance(hint, types.UnionType):
        return " or ".join(map(_named, get_args(hint)))
    if isinstance(hint, type) and not get_args(hint):
        return hint.__name__
    return str(hint).replace("typing.", "")


def _wrong(hint: Any, value: Any, path: Path) -> Mismatch:
    return Mismatch(path, f"expected {_named(hint)}, got {described(value)}")


def _union(hint: Any, args: tuple[Any, ...], value: Any, path: Path) -> Mismatch | None:
    found = [mismatch(arg, value, path) for arg in args]
    wrong = [each for each in found if each is not None]
    if len(wrong) < len(args):
        return None
    # The alternative that was meant is the one that fails further in, if only one does.
    deep = [each for each in wrong if len(each.path) > len(path)]
    return deep[0] if len(deep) == 1 else _wrong(hint, value, path)


def _generic(hint: Any, origin: Any, args: tuple[Any, ...], value: Any, path: Path) -> Mismatch | None:
    if origin is tuple:
        if not isinstance(value, (tuple, list)):
            return _wrong(hint, value, path)
        if len(args) == 2 and args[1] is Ellipsis:
            return _each(args[0], value, path)
        if args and len(args) != len(value):
            return Mismatch(path, f"expected {len(args)} items, got {len(value)}")
        return next(
            filter(
                None, (mismatch(a, v, (*path, i)) for i, (a, v) in enumerate(zip(args, value, strict=True)))
            ),
            None,
        )
    if origin in _LISTS or origin in _SETS:
        if not isinstance(value, origin) or isinstance(value, (str, bytes, dict)):
            return _wrong(hint, value, path)
        # A one-way iterator would be used up by looking at it.
        return _each(args[0], value, path) if isinstance(value, collections.abc.Collection) else None
    if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
        if not isinstance(value, collections.abc.Mapping):
            return _wrong(hint, value, path)
        if len(args) == 2:
            for key, inner in value.items():
                if mismatch(args[0], key):
                    return Mismatch(path, f"has the key {key!r}, which is not {_named(args[0])}")
                if found := mismatch(args[1], inner, (*path, str(key))):
                    return found
        return None
    return _plain(origin, value, path)


def _each(hint: Any, values: Iterable[Any], path: Path) -> Mismatch | None:
    return next(filter(None, (mismatch(hint, v, (*path, i)) for i, v in enumerate(values))), None)


def _plain(hint: Any, value: Any, path: Path) -> Mismatch | None:
    if hint in (Any, object) or not isinstance(hint, type):
        return None
    if getattr(hint, "_is_protocol", False):
        return None
    if isinstance(value, bool) and hint in (int, float, complex):
        return _wrong(hint, value, path)
    if hint in (float, complex):
        return None if isinstance(value, (int, float, hint)) else _wrong(hint, value, path)
    if hint is tuple and isinstance(value, list):
        return None
    if issubclass(hint, enum.Enum) and issubclass(hint, (str, int)) and not isinstance(value, bool):
        return None if any(value == member.value for member in hint) else _wrong(hint, value, path)
    try:
        return None if isinstance(value, hint) else _wrong(hint, value, path)
    except TypeError:  # a class that refuses isinstance()
        return None


def _constraint(metadata: Iterable[Any], value: Any, path: Path) -> Mismatch | None:
    """Limits such as ``Field(gt=0)`` or ``MaxLen(3)`` that stand in an Annotated."""
    limits: list[Any] = []
    for entry in metadata:
        for inner in entry.metadata if isinstance(entry, FieldInfo) else (entry,):
            if isinstance(inner, (annotated_types.BaseMetadata, annotated_types.GroupedMetadata)):
                limits.append(inner)
    if not limits:
        return None
    try:
        TypeAdapter(Annotated[Any, *limits]).validate_python(value)
    except ValidationError as error:
        return Mismatch(path, error.errors()[0]["msg"])
    except TypeError:  # a limit that this sort of value does not know
        return None
    return None


def is_dataclass_type(hint: Any) -> bool:
    """Whether it is a dataclass, not an instance of one."""
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)
