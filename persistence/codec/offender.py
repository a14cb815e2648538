"""Finds the part of a value that cannot be stored, for the error that names it.

Runs only after a value was refused, so it may be slow; it never changes the value.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

from pydantic import BaseModel

_MAX_DEPTH = 60
_NATIVE = (str, int, float, bool, bytes, bytearray, memoryview, dict, list, tuple, type(None))


def find_offender(
    value: Any, path: str, storable: Callable[[Any], bool], allows: Callable[[str, str], bool]
) -> tuple[str, Any]:
    """The path, such as ``input["orders"][3].owner``, and the innermost part that cannot be stored."""
    for _ in range(_MAX_DEPTH):
        if not _own_type_allowed(value, allows):
            break
        for step, part in _parts(value):
            if not storable(part):
                path, value = path + step, part
                break
        else:
            break
    return path, value


def _own_type_allowed(value: Any, allows: Callable[[str, str], bool]) -> bool:
    if isinstance(value, Enum) or hasattr(value, "_asdict") or not isinstance(value, _NATIVE):
        return allows(type(value).__module__, type(value).__name__)
    return True


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield f" key {key!r}", key
            yield f"[{key!r}]" if not isinstance(key, str) else f'["{key}"]', part
    elif hasattr(value, "_asdict"):
        yield from ((f".{name}", part) for name, part in value._asdict().items())
    elif isinstance(value, (list, tuple, deque)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from (("{…}", part) for part in value)
    elif isinstance(value, BaseModel):
        parts = {**value.__dict__, **(value.__pydantic_extra__ or {})}
        yield from ((f".{name}", part) for name, part in parts.items())
    elif hasattr(value, "model_dump"):
        yield from ((f".{name}", part) for name, part in value.model_dump().items())
    elif type(value).__module__.partition(".")[0] == "pandas":
        yield from _columns(value)
    elif dataclasses.is_dataclass(value):
        yield from ((f".{f.name}", getattr(value, f.name)) for f in dataclasses.fields(value))
    elif hasattr(value, "node") and hasattr(value, "arg"):  # Send
        yield ".arg", value.arg


def _columns(value: Any) -> Iterator[tuple[str, Any]]:
    """The columns of a frame, the values of a series."""
    if getattr(value, "ndim", 0) == 2:
        yield from ((f"[{name!r}]", value.iloc[:, place]) for place, name in enumerate(value.columns))
    elif str(getattr(value, "dtype", "")) == "object":
        yield from ((f"[{place}]", part) for place, part in enumerate(value))
