"""pandas' frames, series, indexes and scalars come back with their dtypes, zones, frequencies and names (P12)."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import NotSerializableError, TypeNotAllowedError
from holdfast.persistence.codec import dumps, loads
from holdfast.persistence.codec.strict import Codec
from tests.extras import extra
from tests.unit.codec_types import Order, Stranger
from tests.unit.sameness import difference

np = extra("numpy")
pd = extra("pandas")
frames = extra("hypothesis.extra.pandas")

BERLIN = ZoneInfo("Europe/Berlin")
OURS = Codec([Order])


def again(value: Any) -> Any:
    return OURS.loads_typed(OURS.dumps_typed({"v": (value,)}))["v"][0]


def days(count: int = 4, **more: Any) -> Any:
    return pd.date_range("2026-10-24", periods=count, **more)


COLUMNS = {
    "ints": [1, 2, 3, 4],
    "floats": [1.5, np.nan, np.inf, -0.0],
    "texts": ["a", None, "ü", ""],
    "objects": pd.Series([1, "a", None, {"k": (1, Order(1))}], dtype=object),
    "decimals": pd.Series([Decimal("1.10")] * 4, dtype=object),
    "bools": [True, False, True, False],
    "nullable": pd.array([1, None, 3, 4], dtype="Int16"),
    "nullable floats": pd.arrays.FloatingArray(
        np.array([1.0, np.nan, 0.0, 2.0]), np.array([False, False, True, False])
    ),
    "nullable bools": pd.array([True, None, False, True], dtype="boolean"),
    "strings": pd.array(["a", None, "c", "d"], dtype="string[python]"),
    "days": days(),
    "seconds": days().as_unit("s"),
    "zoned": days(tz=BERLIN, freq="12h"),
    "fixed": days(tz=dt.timezone(dt.timedelta(hours=2))),
    "spans": pd.to_timedelta([1, 2, None, 4], unit="s"),
    "months": pd.period_range("2026-01", periods=4, freq="M"),
    "intervals": pd.interval_range(0, 4, closed="left"),
    "colours": pd.Categorical(["r", "g", None, "r"], categories=["g", "r", "b"], ordered=True),
    "complex": np.array([1j, 2, 3, 4]),
    "missing": pd.Series([pd.NaT, pd.NA, None, np.nan], dtype=object),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_p12_a_column_of_any_dtype_comes_back_as_it_was(name: str) -> None:
    series = pd.Series(COLUMNS[name], name=name, index=pd.Index(list("wxyz"), name="letters"))
    series.attrs["unit"] = {"m": 1}
    assert difference(series, again(series)) is None
    frame = series.to_frame()
    assert difference(frame, again(frame)) is None


def test_p12_a_frame_of_all_of_them_comes_back_as_it_was() -> None:
    frame = pd.DataFrame({name: pd.Series(values) for name, values in COLUMNS.items()})
    assert difference(frame, again(frame)) is None
    assert again(frame).dtypes.equals(frame.dtypes)


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(1, 9, 2, name="r"),
        pd.Index([3, 1, 2], dtype="int8"),
        pd.Index(["a", "b"], name=("a", 1)),
        pd.Index([1, "a", None], dtype=object),
        pd.Index([], dtype=object),
        days(freq="D"),
        days(tz=BERLIN, freq="W-MON"),
        pd.DatetimeIndex(["2026-01-01", "2026-01-05"]),
        pd.timedelta_range("1s", periods=3, freq="2s"),
        pd.period_range("2026", periods=3, freq="Q"),
        pd.interval_range(pd.Timestamp("2026-01-01", tz="UTC"), periods=2, freq="D"),
        pd.CategoricalIndex(["a", "b", "a"]),
        pd.MultiIndex.from_product([["a", "b"], days(2)], names=["l", None]),
        pd.MultiIndex.from_tuples([(1, "x"), (1, None)]),
    ],
    ids=lambda index: f"{type(index).__name__} {index.dtype}"[:40],
)
def test_p12_an_index_of_any_kind_comes_back_as_it_was(index: Any) -> None:
    assert difference(index, again(index)) is None
    frame = pd.DataFrame({"n": range(len(index))}, index=index)
    assert difference(frame, again(frame)) is None
    assert difference(frame.T, again(frame.T)) is None


@pytest.mark.parametrize(
    "value",
    [
        pd.Timestamp("2026-10-26 02:30:00.123456789", tz=BERLIN),
        pd.Timestamp("2026-10-25 00:30:00", tz="UTC").tz_convert(BERLIN),
        pd.Timestamp("2026-10-25 01:30:00", tz="UTC").tz_convert(BERLIN),
        pd.Timestamp("1677-09-22"),
        pd.Timestamp("2026-01-01").as_unit("s"),
        pd.Timedelta("1 day 2ns"),
        pd.Period("2026-03", "M"),
        pd.Interval(1, 2.5, closed="both"),
        pd.NaT,
        pd.NA,
        pd.array([1, None], dtype="UInt8"),
        pd.Categorical([]),
        pd.array([1.0, 2.0], dtype="float32"),
    ],
    ids=repr,
)
def test_p12_scalars_and_arrays_come_back_as_they_were(value: Any) -> None:
    assert difference(value, again(value)) is None


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame(columns=["a", "b"]),
        pd.DataFrame(index=["x"]),
        pd.DataFrame([[1, 2]], columns=["same", "same"]),
        pd.DataFrame([[1, "a"]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
        pd.DataFrame({1: [1], (2, 3): [2]}),
        pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
        pd.DataFrame({"inner": pd.Series([pd.DataFrame({"x": [1]})], dtype=object)}, index=[7]),
    ],
    ids=["empty", "columns", "index", "duplicates", "levels", "keys", "unique", "nested"],
)
def test_p12_odd_frames_come_back_as_they_were(frame: Any) -> None:
    found = again(frame)
    if frame.shape == (1, 1) and isinstance(frame.iloc[0, 0], pd.DataFrame):
        assert difference(frame.iloc[0, 0], found.iloc[0, 0]) is None
    else:
        assert difference(frame, found) is None


@given(
    frames.data_frames(
        [
            frames.column("i", dtype=int),
            frames.column("f", dtype=float),
            frames.column("t", elements=st.text(st.characters(exclude_categories=["Cs"])), dtype=object),
            frames.column("d", dtype="datetime64[ns]"),
        ],
        index=frames.range_indexes(max_size=6) | frames.indexes(dtype="datetime64[ns]", max_size=6),
    )
)
def test_p12_any_frame_comes_back_as_it_was(frame: Any) -> None:
    assert difference(frame, again(frame)) is None


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (pd.DataFrame({"a": [1], "b": [Stranger(1)]}), "x['b'][0]"),
        ({"s": pd.Series([object()])}, 'x["s"][0]'),
        ([pd.Series([0, 1], dtype="Sparse[int]")], "x[0]"),
        (type("Mine", (pd.DataFrame,), {"__module__": "tests.unit.codec_types"})({"a": [1]}), "x"),
        (pd.offsets.MonthEnd(), "x"),
    ],
    ids=["stranger", "object", "sparse", "subclass", "offset"],
)
def test_p11_what_has_no_form_is_refused_with_its_place(value: Any, path: str) -> None:
    with pytest.raises(NotSerializableError) as caught:
        dumps(value, field="x")
    assert caught.value.path == path


def test_p12_only_the_known_names_of_pandas_are_built() -> None:
    import ormsgpack

    data = ormsgpack.packb(
        ormsgpack.Ext(2, ormsgpack.packb(["pandas", "read_pickle", {"filepath_or_buffer": "x"}]))
    )
    with pytest.raises(TypeNotAllowedError, match="read_pickle"):
        loads("msgpack", data)
