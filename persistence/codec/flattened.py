"""Finds objects that a pydantic model would store as plain dicts and not give back.

LangGraph stores a model by its ``model_dump()``, which turns dataclasses and models inside of it
into dicts. Where the field declares its type, rebuilding restores it; where it is ``Any`` (the
``artifact`` of a tool message), a dict comes back in its place, and nobody is told (P12). Looks only
at values; changes and stores nothing.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from langgraph.types import Send

_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
_LISTS = (list, tuple, set, frozenset, deque)


def find_flattened(value: Any, path: str, again: Callable[[Any], Any]) -> tuple[str, Any] | None:
    """The path of the first object that is lost, and the object; None if all come back.

    ``again`` stores a value and loads it. It is called only for models that hold objects: to look
    at 100 messages takes some 0.1 ms.
    """
    for place, model in _models(value, path):
        fields = model.__dict__ | extra if (extra := model.__pydantic_extra__) else model.__dict__
        held = [
            (name, part) for name, part in fields.items() if type(part) not in _PLAIN and _holds_objects(part)
        ]
        if not held:
            continue
        rebuilt = again(model)
        for name, part in held:
            if not _same_types(part, getattr(rebuilt, name, None)):
                return f"{place}.{name}", part
    return None


@lru_cache(maxsize=4096)
def _sort(kind: Any) -> str:
    """What the walk does with values of that type."""
    if kind in _PLAIN:
        return "plain"
    if issubclass(kind, dict):
        return "dict"
    if issubclass(kind, _LISTS):
        return "list"
    if hasattr(kind, "model_dump") and hasattr(kind, "__pydantic_extra__"):
        return "model"
    if dataclasses.is_dataclass(kind):
        return "dataclass"
    return "send" if issubclass(kind, Send) else "other"


def _inside(value: Any, sort: str) -> Iterator[tuple[str, Any]]:
    if sort == "dict":
        yield from ((f'["{key}"]', part) for key, part in value.items())
    elif sort == "list":
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif sort == "dataclass":
        yield from ((f".{f.name}", getattr(value, f.name)) for f in dataclasses.fields(value))
    elif sort == "send":
        yield ".arg", value.arg


def _models(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    kind: Any = type(value)
    sort = _sort(kind)
    if sort == "model":
        yield path, value
    else:
        for step, part in _inside(value, sort):
            if type(part) not in _PLAIN:
                yield from _models(part, path + step)


def _holds_objects(value: Any) -> bool:
    if value is None:
        return False
    kind: Any = type(value)
    sort = _sort(kind)
    if sort == "dict":
        return any(type(part) not in _PLAIN and _holds_objects(part) for part in value.values())
    if sort == "list":
        return any(type(part) not in _PLAIN and _holds_objects(part) for part in value)
    return sort in {"model", "dataclass"}


def _same_types(before: Any, after: Any) -> bool:
    kind: Any = type(before)
    sort = _sort(kind)
    if sort == "dict":
        return isinstance(after, dict) and all(
            key in after and _same_types(part, after[key]) for key, part in before.items()
        )
    if sort == "list" and isinstance(before, (list, tuple)):
        return (
            isinstance(after, (list, tuple))
            and len(before) == len(after)
            and all(_same_types(a, b) for a, b in zip(before, after, strict=True))
        )
    return sort not in {"model", "dataclass"} or type(before) is type(after)
