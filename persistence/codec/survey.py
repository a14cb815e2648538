"""Which types stored bytes name, without building or importing any of them: for ``doctor --types``.

LangGraph's form names a type by its module and name in an extension of msgpack, which is all that is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import ormsgpack
from langgraph.checkpoint.serde.jsonplus import EXT_DELTA_SNAPSHOT, EXT_NUMPY_ARRAY

from holdfast.persistence.codec import Key

_PLAIN: Final = frozenset({"null", "bytes", "bytearray", "empty"})


def types_in(tag: str, data: bytes) -> set[Key]:
    """The (module, name) pairs that a value names; of a way of storing that nobody reads ("", tag).

    Raises ValueError for bytes that are not what their tag says.
    """
    if tag in _PLAIN:
        return set()
    if tag == "json":
        return set(_in_json(json.loads(data)))
    if tag != "msgpack":
        return {("", tag)}
    found: set[Key] = set()

    def hook(code: int, payload: bytes) -> None:
        parts = ormsgpack.unpackb(payload, ext_hook=hook, option=ormsgpack.OPT_NON_STR_KEYS)
        if code == EXT_NUMPY_ARRAY:
            found.add(("numpy", "ndarray"))
        elif code != EXT_DELTA_SNAPSHOT:
            found.add((str(parts[0]), str(parts[1])))

    ormsgpack.unpackb(data, ext_hook=hook, option=ormsgpack.OPT_NON_STR_KEYS)
    return found


def _in_json(value: Any) -> Iterator[Key]:
    """LangChain's own form, in which LangGraph stored until 2024."""
    if isinstance(value, dict):
        if value.get("lc") in (1, 2) and isinstance(value.get("id"), list) and value["id"]:
            *module, name = map(str, value["id"])
            yield ".".join(module), name
        for part in value.values():
            yield from _in_json(part)
    elif isinstance(value, list):
        for part in value:
            yield from _in_json(part)
