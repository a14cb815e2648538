"""Whether a value came back as it was: equal, of the same types at every depth, with zones, orders and lengths."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections import deque
from decimal import Decimal
from typing import Any

from pydantic import BaseModel


def difference(before: Any, after: Any, path: str = "value") -> str | None:
    """Where the two differ, or None."""
    kind = type(before)
    if type(after) is not kind:
        return f"{path}: {kind.__name__} became {type(after).__name__}"
    if kind in (list, tuple, deque):
        if len(before) != len(after) or getattr(before, "maxlen", None) != getattr(after, "maxlen", None):
            return f"{path}: another length"
        return _first(
            difference(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(before, after, strict=True))
        )
    if kind is dict:
        if list(map(_key, before)) != list(map(_key, after)):
            return f"{path}: other keys: {before!r} {after!r}"
        return _first(
            difference(a, b, f"{path}[{k!r}]")
            for (k, a), b in zip(before.items(), after.values(), strict=True)
        )
    if isinstance(before, BaseModel):
        parts = difference(before.__dict__, after.__dict__, path) or difference(
            before.__pydantic_extra__ or {}, after.__pydantic_extra__ or {}, path
        )
        # Of messages and documents it is not stored which fields were set.
        same_set = (
            kind.__module__.startswith("langchain") or before.model_fields_set == after.model_fields_set
        )
        return parts or (None if same_set else f"{path}: other fields are set")
    if dataclasses.is_dataclass(before):
        names = [field.name for field in dataclasses.fields(before)]
        return _first(difference(getattr(before, n), getattr(after, n), f"{path}.{n}") for n in names)
    package = kind.__module__.partition(".")[0]
    if package == "numpy":
        return _numpy(before, after, path)
    if package == "pandas":
        return _pandas(before, after, path)
    return None if _equal(before, after) else f"{path}: {before!r} became {after!r}"


def _first(found: Any) -> str | None:
    return next((each for each in found if each), None)


def _key(key: Any) -> Any:
    return type(key), "nan" if key != key else key


def _equal(before: Any, after: Any) -> bool:
    if isinstance(before, float):
        return before == after or (math.isnan(before) and math.isnan(after))
    if isinstance(before, complex | Decimal):
        return repr(before) == repr(after)
    if isinstance(before, dt.datetime | dt.time):
        zones = before.tzinfo == after.tzinfo and type(before.tzinfo) is type(after.tzinfo)
        return (
            zones and before.replace(tzinfo=None) == after.replace(tzinfo=None) and before.fold == after.fold
        )
    if isinstance(before, set | frozenset):
        return before == after or sorted(map(repr, before)) == sorted(map(repr, after))
    return bool(before == after) or repr(before) == repr(after)


def _numpy(before: Any, after: Any, path: str) -> str | None:
    import numpy as np

    if before.dtype != after.dtype or before.shape != after.shape:
        return f"{path}: {before.dtype}{before.shape} became {after.dtype}{after.shape}"
    if before.tobytes() != after.tobytes():
        return f"{path}: {before!r} became {after!r}"
    if isinstance(before, np.ndarray):
        fortran = before.flags.f_contiguous and not before.flags.c_contiguous
        if (
            fortran != (after.flags.f_contiguous and not after.flags.c_contiguous)
            or not after.flags.writeable
        ):
            return f"{path}: another order, or no longer to be written to"
    return None


def _pandas(before: Any, after: Any, path: str) -> str | None:
    import pandas as pd

    try:
        if isinstance(before, pd.DataFrame):
            pd.testing.assert_frame_equal(before, after, check_exact=True, check_freq=True, check_flags=True)
            assert before.attrs == after.attrs
            parts = zip(before.items(), after.items(), strict=True)
            return _first(difference(a.tolist(), b.tolist(), f"{path}[{n!r}]") for (n, a), (_, b) in parts)
        if isinstance(before, pd.Series):
            pd.testing.assert_series_equal(before, after, check_exact=True, check_freq=True, check_flags=True)
            assert before.attrs == after.attrs
        elif isinstance(before, pd.Index):
            pd.testing.assert_index_equal(before, after, exact=True, check_exact=True)
            assert getattr(before, "freq", None) == getattr(after, "freq", None)
        elif isinstance(before, pd.api.extensions.ExtensionArray):
            pd.testing.assert_extension_array_equal(before, after, check_exact=True)
        else:
            assert repr(before) == repr(after)
            assert getattr(before, "unit", None) == getattr(after, "unit", None)
            assert getattr(before, "tz", None) == getattr(after, "tz", None)
    except AssertionError as error:
        return f"{path}: {error or f'{before!r} became {after!r}'}"
    return None
