"""What is stored comes back as it was, nested in any way: a property of the strict serializer (P12)."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import string
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.store.base import Item, SearchItem
from langgraph.types import Command, Interrupt, Overwrite, Send

from holdfast.errors import NotSerializableError
from holdfast.persistence.codec.strict import Codec
from tests.unit import codec_types as types
from tests.unit.sameness import difference

OURS = Codec(
    [
        *(types.Address, types.Checked, types.Colour, types.Derived, types.Holder, types.Job, types.Numbers),
        *(types.Opened, types.Order, types.Place, types.Point, types.Right, types.Tags),
    ]
)
ZONES = [ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("UTC"), ZoneInfo("Asia/Kathmandu")]


def again(value: Any) -> Any:
    return OURS.loads_typed(OURS.dumps_typed(value))


# ── a strategy for everything

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
offsets = st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)).map(dt.timezone)
zones = st.none() | offsets | st.sampled_from(ZONES)
moments = st.datetimes(
    dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1), timezones=zones, allow_imaginary=True
)

hashable = st.recursive(
    st.one_of(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text | st.binary(max_size=8),
        moments | st.dates() | st.times(timezones=st.none() | offsets) | st.timedeltas(),
        st.uuids() | st.decimals(allow_nan=False) | st.ip_addresses(),
        st.sampled_from([*types.Colour, *types.Place, *types.Right, types.Right(3)]),
        st.builds(types.Point, st.integers(), st.integers()),
        st.builds(Path, text.filter(lambda part: "\x00" not in part)),
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner, max_size=3)
        | st.builds(types.Order, st.integers(), inner)
    ),
    max_leaves=4,
)

names = st.text(string.ascii_lowercase, min_size=1, max_size=5)
leaves = st.one_of(
    hashable,
    st.floats() | st.complex_numbers() | st.binary(max_size=20).map(lambda data: data * 3),
    st.sets(hashable, max_size=4),
    st.sampled_from(
        [range(3), re.compile("a+", re.IGNORECASE), ipaddress.ip_network("10.0.0.0/8"), ZONES[0]]
    ),
    st.sampled_from([PurePosixPath("/a/b"), PureWindowsPath("c:/x"), ipaddress.ip_interface("::1/64")]),
    st.lists(text, max_size=3).map(types.Tags),
    st.lists(st.integers(-9, 9), max_size=3).map(types.Numbers),
)


def around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(text | hashable, inner, max_size=4),
        st.builds(deque, st.lists(inner, max_size=3), st.none() | st.integers(3, 5)),
        st.builds(types.Order, st.integers(), inner),
        st.builds(types.Job, name=text, parts=st.lists(inner, max_size=2).map(tuple)),
        st.builds(types.Address, street=text, extra=inner) | st.builds(types.Address, street=text),
        st.builds(types.Derived, street=text, extra=inner, more=st.lists(inner, max_size=2)),
        st.builds(
            lambda first, inner, extra: types.Holder.model_validate({"second": first, "in": inner, **extra}),
            st.integers(),
            st.none() | st.builds(types.Derived, street=text, extra=inner),
            st.dictionaries(
                names.filter(lambda name: name not in {"in", "inner", "first"}), inner, max_size=2
            ),
        ),
        st.builds(
            lambda content, artifact: ToolMessage(content, tool_call_id="1", artifact=artifact), text, inner
        ),
        st.builds(
            lambda page, meta: Document(page, metadata=meta), text, st.dictionaries(text, inner, max_size=2)
        ),
        st.builds(Send, text, inner) | st.builds(Overwrite, inner) | st.builds(Interrupt, inner, text),
        st.builds(lambda update: Command(update={"a": update}, goto=["b"]), inner),
    )


anything = st.recursive(leaves, around, max_leaves=12)


@given(anything)
def test_p12_whatever_can_be_stored_comes_back_as_it_was(value: Any) -> None:
    assert difference(value, again(value)) is None


@given(anything)
def test_p12_the_same_value_has_the_same_bytes(value: Any) -> None:
    assert OURS.dumps_typed(value) == OURS.dumps_typed(value)


PERMISSIVE = JsonPlusSerializer(allowed_msgpack_modules=True)


@given(st.recursive(hashable | st.sets(hashable, max_size=3), around, max_leaves=6))
def test_stock_langgraph_reads_what_we_wrote(value: Any) -> None:
    found = PERMISSIVE.loads_typed(OURS.dumps_typed(value))
    assert type(found) is type(value)


# ── what has been lost before, one by one

BERLIN = dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZONES[0])


@pytest.mark.parametrize(
    "value",
    [
        BERLIN,
        BERLIN.replace(fold=1),
        dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=45, seconds=7))),
        dt.time(2, 30, fold=1, tzinfo=dt.UTC),
        {types.Colour.RED: 1, types.Place.HERE: 2, "plain": 3},
        {UUID(int=1): dt.date(2026, 1, 1), dt.date(2026, 1, 1): UUID(int=1), BERLIN: 1},
        {Decimal("1.10"): 1, (types.Colour.RED, 2): 3, frozenset({1}): 4, 2**70: 5},
        {1: "a", None: "b", 2.5: "c", b"k": "d", (1, ("x",)): "e"},
        {(1, 2), (3, (4, 5))},
        [(1, [2, (3,)])],
        deque([1, 2], maxlen=5),
        [2**64 - 1, 2**64, -(2**63) - 1, 10**300],
        [1j, complex("nan+infj"), complex(-0.0, -0.0)],
        Decimal("sNaN"),
        types.Place.HERE,
        types.Right.READ | types.Right.WRITE,
        types.Address(street="x", extra=types.Order(1, types.Point(1, 2))),
        types.Holder.model_validate({"first": 1, "second": 2, "in": types.Derived(street="y"), "else": (1,)}),
        types.Numbers([1, 2]),
        types.Job(name="four", parts=(1, (2,))),
        types.Opened(0, 7),
        types.Tags(["a"]),
        ToolMessage("x", tool_call_id="1", artifact=types.Order(1, {types.Colour.RED})),
        [HumanMessage("hi", id="1"), AIMessage("yo", tool_calls=[{"name": "t", "args": {}, "id": "3"}])],
        SearchItem(("a", "b"), "k", {"v": 1}, BERLIN, BERLIN, 0.5),
        Item(value={"v": (1,)}, key="k", namespace=("a",), created_at=BERLIN, updated_at=BERLIN),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_p12_nothing_of_it_is_lost(value: Any) -> None:
    found = again(value)
    if isinstance(value, Item):  # which compares by what it shows
        assert (type(found), found.dict()) == (type(value), value.dict())
    else:
        assert difference(value, found) is None


def test_p12_a_models_unset_fields_stay_unset() -> None:
    found = again(types.Address(street="x"))
    assert found.model_fields_set == {"street"}


def test_p12_what_a_model_hides_from_its_dump_is_kept() -> None:
    held = types.Holder(hidden="secret")
    assert again(held).hidden == "secret"
    assert again(held).total == 0


def test_p12_what_a_models_own_rules_refuse_by_now_is_kept() -> None:
    odd = types.Checked()
    odd.size = -5
    assert again(odd).size == -5


def test_p12_a_dataclass_keeps_what_was_changed_after_it_was_made() -> None:
    job = types.Job(name="four")
    job.length, job.done = 17, True
    assert again(job) == job


def test_p11_a_model_without_a_field_that_it_must_have_is_refused() -> None:
    with pytest.raises(NotSerializableError, match="street"):
        OURS.dumps_typed(types.Address.model_construct())


def test_p12_a_name_that_means_another_type_is_refused() -> None:
    local = type("Order", (), {"__module__": types.__name__, "dict": lambda self: {}})
    with pytest.raises(NotSerializableError, match="another type"):
        OURS.dumps_typed(local())


@pytest.mark.parametrize(
    "value",
    [defaultdict(list, {"a": [1]}), OrderedDict(b=1, a=2), Counter("aab"), {"x": types.Tags(["a"])}],
    ids=repr,
)
def test_subclasses_of_plain_types_are_stored_as_those_unless_they_are_allowed(value: Any) -> None:
    plain = Codec()
    found = plain.loads_typed(plain.dumps_typed(value))
    assert found == value
    assert type(found) is dict
    assert type(found.get("x", [])) is list
    assert type(again({"x": types.Tags(["a"])})["x"]) is types.Tags


def test_a_set_of_texts_has_the_same_bytes_in_every_process() -> None:
    words = [f"word{number}" for number in range(50)]
    grown: set[str] = set()
    for word in reversed(words):
        grown.add(word)
    assert OURS.dumps_typed(grown) == OURS.dumps_typed(set(words))
