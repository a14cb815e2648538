"""How pandas' frames, series, indexes, arrays and scalars are stored and built: column by column, never pickled.

A column of plain numbers or times is a NumPy array, one of objects a list whose parts have forms of their own. It is
imported where somebody has stored or is storing one, so only where pandas is installed. Sparse and Arrow arrays,
and subclasses of frames, have no form.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_KW_ARGS

from holdfast.persistence.codec.form import Form, Giver, refuse

_MASKED: Final = (pd.arrays.IntegerArray, pd.arrays.FloatingArray, pd.arrays.BooleanArray)

_NUMPY: Final = (pd.arrays.NumpyExtensionArray, pd.arrays.DatetimeArray, pd.arrays.TimedeltaArray)


def giver(kind: Any) -> Giver:
    """What gives the forms of values of that pandas type."""
    found = _EXACT.get(kind)
    if found is not None:
        return found
    if issubclass(kind, pd.Index):
        return _index
    return _array if issubclass(kind, pd.api.extensions.ExtensionArray) else refuse


def _form(form: str, /, **parts: Any) -> Form:
    return Form(EXT_CONSTRUCTOR_KW_ARGS, "pandas", form, parts)


# ── forms


def _frame(value: Any) -> Form:
    columns = [_column(value.iloc[:, place].array) for place in range(value.shape[1])]
    return _form("DataFrame", columns=value.columns, index=value.index, values=columns, **_marks(value))


def _series(value: Any) -> Form:
    return _form("Series", name=value.name, index=value.index, values=_column(value.array), **_marks(value))


def _marks(value: Any) -> dict[str, Any]:
    marks: dict[str, Any] = {"attrs": value.attrs} if value.attrs else {}
    return marks if value.flags.allows_duplicate_labels else {**marks, "unique": True}


def _index(value: Any) -> Form:
    if isinstance(value, pd.RangeIndex):
        return _form("Index", range=[value.start, value.stop, value.step], name=value.name)
    if isinstance(value, pd.MultiIndex):
        codes = [np.asarray(each) for each in value.codes]
        return _form("Index", levels=[*value.levels], codes=codes, names=[*value.names])
    freq = value.freq if isinstance(value, (pd.DatetimeIndex, pd.TimedeltaIndex)) else None
    if freq is not None and pd.tseries.frequencies.to_offset(freq.freqstr) != freq:
        raise TypeError(f"the frequency {freq!r} of an index has no name that says all of it")
    return _form("Index", values=_column(value.array), name=value.name, freq=freq and freq.freqstr)


def _column(array: Any) -> Any:
    """A NumPy array as it is, unless it holds objects; any other array in a form."""
    if not _is_numpy(array):
        return _array(array)
    plain = array.to_numpy()
    return plain if plain.dtype != object else _form("Array", kind="object", values=plain.tolist())


def _is_numpy(array: Any) -> bool:
    """Whether a NumPy array says all of it: not of texts, and not of times in a zone."""
    of_its_own = isinstance(array.dtype, pd.StringDtype) or getattr(array, "tz", None) is not None
    return isinstance(array, _NUMPY) and not of_its_own


def _array(array: Any) -> Form:
    if isinstance(array, pd.Categorical):
        parts = {"codes": np.asarray(array.codes), "categories": array.categories, "ordered": array.ordered}
        return _form("Array", kind="category", **parts)
    if isinstance(array, _MASKED):
        mask = np.asarray(array.isna())
        filler = False if isinstance(array, pd.arrays.BooleanArray) else 0
        values = array.to_numpy(dtype=array.dtype.numpy_dtype, na_value=filler)
        return _form("Array", kind="masked", values=values, mask=mask)
    if isinstance(array.dtype, pd.StringDtype):
        texts = [None if missing else str(text) for text, missing in zip(array, array.isna(), strict=True)]
        nan = array.dtype.na_value is not pd.NA
        return _form("Array", kind="text", values=texts, storage=array.dtype.storage, nan=nan)
    if _is_numpy(array):
        return _form("Array", kind="plain", values=_column(array))
    if isinstance(array, pd.arrays.DatetimeArray):
        utc = array.tz_convert("UTC").tz_localize(None).to_numpy()
        return _form("Array", kind="zoned", values=utc, tz=_zone(array.tz))
    if isinstance(array, pd.arrays.PeriodArray):
        return _form(
            "Array", kind="period", values=np.asarray(array.asi8), freq=pd.PeriodIndex(array).freqstr
        )
    if isinstance(array, pd.arrays.IntervalArray):
        parts = {"left": array.left, "right": array.right, "closed": array.closed}
        return _form("Array", kind="interval", **parts)
    raise TypeError(f"pandas arrays of the dtype {array.dtype} cannot be stored: convert them first")


def _zone(tz: Any) -> Any:
    if isinstance(tz, (dt.timezone, ZoneInfo)):
        return tz
    if name := getattr(tz, "zone", None):  # of pytz
        return str(name)
    raise TypeError(f"the time zone {tz!r} has no name that it could be stored under")


def _timestamp(value: Any) -> Form:
    if value.tz is None:
        return _form("Timestamp", value=value.to_datetime64())
    return _form("Timestamp", value=value.tz_convert("UTC").to_datetime64(), tz=_zone(value.tz))


_EXACT: Final[Mapping[Any, Giver]] = {
    pd.DataFrame: _frame,
    pd.Series: _series,
    pd.Timestamp: _timestamp,
    pd.Timedelta: lambda value: _form("Timedelta", value=value.to_timedelta64()),
    pd.Period: lambda value: _form("Period", ordinal=value.ordinal, freq=value.freqstr),
    pd.Interval: lambda value: _form("Interval", left=value.left, right=value.right, closed=value.closed),
    type(pd.NaT): lambda value: _form("Missing", name="NaT"),
    type(pd.NA): lambda value: _form("Missing", name="NA"),
}


# ── and back


def _build_frame(columns: Any, index: Any, values: list[Any], **marks: Any) -> Any:
    parts = {place: pd.Series(each, index=index, dtype=each.dtype) for place, each in enumerate(values)}
    made = pd.DataFrame(parts, index=index)
    made.columns = columns
    return _marked(made, **marks)


def _build_series(name: Any, index: Any, values: Any, **marks: Any) -> Any:
    return _marked(pd.Series(values, index=index, name=name, dtype=values.dtype), **marks)


def _marked(made: Any, attrs: Any = None, unique: bool = False) -> Any:
    made.attrs.update(attrs or {})
    return made.set_flags(allows_duplicate_labels=False) if unique else made


def _build_index(
    name: Any = None,
    names: Any = None,
    range: Any = None,
    levels: Any = None,
    codes: Any = None,
    values: Any = None,
    freq: str | None = None,
) -> Any:
    if range is not None:
        return pd.RangeIndex(*range, name=name)
    if levels is not None:
        return pd.MultiIndex(levels=levels, codes=codes, names=names)
    made = pd.Index(values, name=name, dtype=values.dtype)
    if freq is not None:
        made.freq = freq
    return made


def _build_array(kind: str, **parts: Any) -> Any:
    return _ARRAYS[kind](**parts)


def _objects(values: list[Any]) -> Any:
    made: Any = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def _masked(values: Any, mask: Any) -> Any:
    kinds = {"b": pd.arrays.BooleanArray, "f": pd.arrays.FloatingArray}
    return kinds.get(values.dtype.kind, pd.arrays.IntegerArray)(values, mask)


def _texts(values: list[str | None], storage: str, nan: bool) -> Any:
    dtype = pd.StringDtype(storage, na_value=np.nan) if nan else pd.StringDtype(storage)
    return pd.array(values, dtype=dtype)


def _build_timestamp(value: Any, tz: Any = None) -> Any:
    made = pd.Timestamp(value)
    return made if tz is None else made.tz_localize("UTC").tz_convert(tz)


_ARRAYS: Final[Mapping[str, Callable[..., Any]]] = {
    "object": _objects,
    "plain": lambda values: pd.Series(values, dtype=values.dtype).array,
    "category": lambda codes, categories, ordered: pd.Categorical.from_codes(codes, categories, ordered),
    "masked": _masked,
    "text": _texts,
    "zoned": lambda values, tz: pd.DatetimeIndex(values).tz_localize("UTC").tz_convert(tz).array,
    "period": lambda values, freq: pd.PeriodIndex.from_ordinals(values, freq=freq).array,
    "interval": lambda left, right, closed: pd.arrays.IntervalArray.from_arrays(left, right, closed),
}

BUILDERS: Final[Mapping[str, Callable[..., Any]]] = {
    "DataFrame": _build_frame,
    "Series": _build_series,
    "Index": _build_index,
    "Array": _build_array,
    "Timestamp": _build_timestamp,
    "Timedelta": lambda value: pd.Timedelta(value),
    "Period": lambda ordinal, freq: pd.Period(ordinal=ordinal, freq=freq),
    "Interval": lambda left, right, closed: pd.Interval(left, right, closed),
    "Missing": lambda name: {"NaT": pd.NaT, "NA": pd.NA}[name],
}
"""What builds each of the names that the forms give."""
