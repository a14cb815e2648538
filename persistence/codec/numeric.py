"""How NumPy's arrays and scalars are stored and built. Arrays of Python objects are neither stored nor loaded.

It is imported where somebody has stored or is storing one, so only where NumPy is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from langgraph.checkpoint.serde.jsonplus import EXT_NUMPY_ARRAY

from holdfast.persistence.codec.form import Bare, Form, Giver, one, refuse, several


def giver(kind: Any) -> Giver:
    """What gives the forms of values of that NumPy type."""
    if kind is np.ndarray:
        return _array
    if issubclass(kind, np.generic):
        return _SCALARS.get(np.dtype(kind).kind, refuse)
    return refuse  # masked arrays, matrices and records would lose what they are


def _array(value: Any) -> Bare:
    """Its bytes in the order in which they lie, if they lie without gaps."""
    if value.dtype.hasobject:
        raise TypeError("a NumPy array of Python objects cannot be stored; a list can")
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    # A structured dtype has no short name that says all of it.
    dtype = value.dtype.str if value.dtype.names is None else np.lib.format.dtype_to_descr(value.dtype)
    return Bare(EXT_NUMPY_ARRAY, [dtype, [*value.shape], order, value.tobytes(order=order)])


def build_array(payload: Any) -> Any:
    """The array, which may be written to like the one that was stored. Raises ValueError."""
    dtype, shape, order, buffer = payload
    kind = np.dtype(dtype) if isinstance(dtype, str) else np.lib.format.descr_to_dtype(_descr(dtype))
    if kind.hasobject:
        raise ValueError("NumPy arrays of Python objects are not loaded")
    if kind.itemsize == 0 or not buffer:
        return np.zeros(shape, dtype=kind, order=order)
    return np.frombuffer(bytearray(buffer), dtype=kind).reshape(shape, order=order)


def _descr(parts: Any) -> Any:
    """As NumPy wants it: each field as a tuple, which a stock serializer reads as a list."""
    if isinstance(parts, str):
        return parts
    return [(name, _descr(kind), *(tuple(size) for size in rest)) for name, kind, *rest in parts]


def _plain(value: Any) -> Form:
    return one(value, value.item())


def _real(value: Any) -> Form:
    if value.dtype.itemsize <= 8:
        return one(value, value.item())
    # A long double has more digits than a float; its shortest text gives the same again.
    text = np.format_float_scientific(value, unique=True, trim="0") if np.isfinite(value) else str(value)
    return one(value, text)


def _complex(value: Any) -> Form:
    return several(value, float(value.real), float(value.imag))


def _moment(value: Any) -> Form:
    unit, count = np.datetime_data(value.dtype)
    return several(value, int(value.view("i8")), unit if count == 1 else f"{count}{unit}")


_SCALARS: Final[Mapping[str, Giver]] = {
    **dict.fromkeys("biuUS", _plain),
    "f": _real,
    "c": _complex,
    **dict.fromkeys("mM", _moment),
}
