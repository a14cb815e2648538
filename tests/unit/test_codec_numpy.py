"""NumPy's arrays and scalars come back with dtype, shape, order and the right to be written to (P12)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from holdfast.errors import NotSerializableError, TypeNotAllowedError
from holdfast.persistence.codec import codec, dumps, loads
from holdfast.persistence.codec.strict import Codec
from tests.extras import extra
from tests.unit.codec_types import Order
from tests.unit.sameness import difference

np = extra("numpy")
npst = extra("hypothesis.extra.numpy")

STOCK = JsonPlusSerializer(allowed_msgpack_modules=True)

dtypes = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(),
    npst.unsigned_integer_dtypes(),
    npst.floating_dtypes(),
    npst.complex_number_dtypes(),
    npst.datetime64_dtypes(),
    npst.timedelta64_dtypes(),
    npst.byte_string_dtypes(),
    npst.unicode_string_dtypes(max_len=5),
)
arrays = npst.arrays(
    dtype=dtypes | npst.array_dtypes(subtype_strategy=dtypes) | npst.nested_dtypes(dtypes, max_leaves=3),
    shape=npst.array_shapes(min_dims=0, min_side=0, max_side=4),
)


def is_storable(scalar: Any) -> bool:
    """A complex long double is not; of a text lone surrogates are not, as upstream has it."""
    if scalar.dtype.kind == "U":
        return not any("\ud800" <= character <= "\udfff" for character in scalar)
    return bool(scalar.dtype != "clongdouble")


def variants(array: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(
        [array, np.asfortranarray(array), array.T, array[..., ::2] if array.ndim else array]
    )


@given(arrays.flatmap(variants))
def test_p12_an_array_comes_back_as_it_was(array: Any) -> None:
    found = loads(*dumps({"a": [array]}, field="x"))["a"][0]
    assert difference(array, found) is None


@given(
    npst.arrays(dtype=dtypes, shape=(1,))
    .map(lambda array: array[0])
    .filter(lambda s: s.dtype != "clongdouble")
)
def test_p12_a_scalar_comes_back_as_it_was(scalar: Any) -> None:
    assert difference(scalar, loads(*dumps((scalar,), field="x"))[0]) is None


@given(npst.arrays(dtype=npst.integer_dtypes() | npst.floating_dtypes(sizes=(32, 64)), shape=(2, 3)))
def test_stock_langgraph_reads_our_arrays_and_we_read_its(array: Any) -> None:
    ours = codec()
    for found in (STOCK.loads_typed(ours.dumps_typed(array)), ours.loads_typed(STOCK.dumps_typed(array))):
        assert found.dtype == array.dtype
        assert np.array_equal(found, array, equal_nan=True)


def test_arrays_stand_anywhere_also_inside_of_messages_and_keys() -> None:
    ours = Codec([Order])
    value = {
        np.int64(3): Order(1, np.arange(3)),
        "m": ToolMessage("x", tool_call_id="1", artifact={"v": np.eye(2)}),
        np.str_("k"): (np.float32(0.1),),
    }
    assert difference(value, ours.loads_typed(ours.dumps_typed(value))) is None


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": np.array([object()])}, 'x["a"]'),
        ([np.ma.masked_array([1, 2], [0, 1])], "x[0]"),
        (np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")]), "x"),
        (np.array([[1]]).view(np.matrix), "x"),
        ({"r": np.random.default_rng()}, 'x["r"]'),
        (
            np.array(["a"], dtype=np.dtypes.StringDType()) if hasattr(np.dtypes, "StringDType") else object(),
            "x",
        ),
    ],
    ids=["objects", "masked", "objects in a record", "matrix", "generator", "texts of any length"],
)
def test_p11_arrays_of_objects_and_subclasses_are_refused(value: Any, path: str) -> None:
    with pytest.raises(NotSerializableError) as caught:
        dumps(value, field="x")
    assert caught.value.path == path
    assert "SERIALIZABLE" not in str(caught.value), "it would not help"


@pytest.mark.parametrize("dtype", ["|O", [("a", "|O")]])
def test_p12_stored_bytes_of_an_array_of_objects_are_not_loaded(dtype: Any) -> None:
    import ormsgpack

    data = ormsgpack.packb(ormsgpack.Ext(6, ormsgpack.packb([dtype, [1], "C", b"\x00" * 8])))
    with pytest.raises(TypeNotAllowedError, match="objects"):
        loads("msgpack", data)
