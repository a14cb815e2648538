"""The types that may always be stored and loaded: data without behaviour, which building runs no code of anybody's.

LangGraph's own list, and what it flattens or refuses although it is as harmless. A graph's types and those of
``HOLDFAST["SERIALIZABLE"]`` come on top, in each codec.
"""

from __future__ import annotations

from typing import Final

from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_TYPES

from holdfast.persistence.codec import Key

SCALARS: Final = (
    *("bool", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("intc", "uintc", "longlong", "ulonglong", "float16", "float32", "float64", "longdouble", "float128"),
    *("complex64", "complex128", "datetime64", "timedelta64", "str_", "bytes_"),
)
"""NumPy's scalar types, by the names that they give themselves on some platform."""

FRAMES: Final = (
    "DataFrame",
    "Series",
    "Index",
    "Array",
    "Timestamp",
    "Timedelta",
    "Period",
    "Interval",
    "Missing",
)
"""What ``frames`` stores of pandas, by the names that it gives."""

SAFE: Final[frozenset[Key]] = (
    SAFE_MSGPACK_TYPES
    | {("builtins", name) for name in ("tuple", "dict", "int", "complex", "range")}
    | {
        (module, f"Pure{name}Path")
        for module in ("pathlib", "pathlib._local")
        for name in ("", "Posix", "Windows")
    }
    | {("langgraph.store.base", "SearchItem")}
    | {("numpy", name) for name in SCALARS}
    | {("pandas", name) for name in FRAMES}
)
