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
from typing import Any

_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
_LISTS = (list, tuple, set, frozenset, deque)


def find_flattened(value: Any, path: str, again: Callable[[Any], Any]) -> tuple[str, Any] | None:
    """The path of the first object that is lost, and the object; None if all come back.

    ``again`` stores a value and loads it. It is called only for models that hold objects: to look
    at 100 messages takes some 0.1 ms.
    """
    for place, model in _models(value, path):
        held = [(name, part) for name, part in vars(model).items() if _holds_objects(part)]
        held += [(n, part) for n, part in (model.__pydantic_extra__ or {}).items() if _holds_objects(part)]
        if not held:
            continue
        rebuilt = again(model)
        for name, part in held:
            if not _same_types(part, getattr(rebuilt, name, None)):
                return f"{place}.{name}", part
    return None


def _is_model(value: Any) -> bool:
    return (
        hasattr(value, "model_dump") and hasattr(value, "__pydantic_extra__") and not isinstance(value, type)
    )


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f'["{key}"]', part) for key, part in value.items())
    elif isinstance(value, _LISTS):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((f".{f.name}", getattr(value, f.name)) for f in dataclasses.fields(value))
    elif hasattr(value, "node") and hasattr(value, "arg"):  # Send
        yield ".arg", value.arg


def _models(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if _is_model(value):
        yield path, value
        return
    for step, part in _inside(value):
        if type(part) not in _PLAIN:
            yield from _models(part, path + step)


def _holds_objects(value: Any) -> bool:
    if type(value) in _PLAIN:
        return False
    if isinstance(value, dict):
        return any(_holds_objects(part) for part in value.values())
    if isinstance(value, _LISTS):
        return any(_holds_objects(part) for part in value)
    return _is_model(value) or dataclasses.is_dataclass(value)


def _same_types(before: Any, after: Any) -> bool:
    if isinstance(before, dict):
        return isinstance(after, dict) and all(
            key in after and _same_types(part, after[key]) for key, part in before.items()
        )
    if isinstance(before, (list, tuple)):
        return (
            isinstance(after, (list, tuple))
            and len(before) == len(after)
            and all(_same_types(a, b) for a, b in zip(before, after, strict=True))
        )
    if _is_model(before) or dataclasses.is_dataclass(before):
        return type(before) is type(after)
    return True
