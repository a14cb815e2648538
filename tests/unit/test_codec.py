"""The strict serializer: refused at the door, never degraded on the way back (P11, P12)."""

from __future__ import annotations

import datetime as dt
import pickle
import re
import threading
import types
from collections import deque
from decimal import Decimal
from typing import Any
from uuid import UUID

import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Command, Interrupt, Send

from holdfast.errors import ConfigurationError, NotSerializableError, TypeNotAllowedError
from holdfast.persistence.codec import codec, dumps, loads
from holdfast.persistence.codec.strict import Codec
from tests.unit.codec_types import Address, Colour, Order, Outer, Point, Stranger
from tests.unit.steady_ids import steady

STOCK = JsonPlusSerializer(allowed_msgpack_modules=True)
OURS = [("tests.unit.codec_types", name) for name in ("Order", "Address", "Colour", "Point")]

ALLOWED = [
    None,
    b"bytes",
    bytearray(b"more"),
    {"a": [1, 2.5, "x", True, None], 3: "int key"},
    dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC),
    dt.date(2026, 1, 2),
    dt.timedelta(days=1, microseconds=5),
    UUID(int=7),
    Decimal("1.10"),
    {1, 2},
    frozenset({"a"}),
    deque([1, 2]),
    re.compile("a+", re.IGNORECASE),
    [HumanMessage("hi", id="1"), AIMessage("yo", id="2", tool_calls=[{"name": "t", "args": {}, "id": "3"}])],
    ToolMessage("done", tool_call_id="3", artifact={"when": dt.date(2026, 1, 1)}),
    Document("text", metadata={"a": 1}),
    Send("node", {"doc": Document("x")}),
    Interrupt(value={"ask": "sure?"}, id="abc"),
    Command(update={"a": 1}, goto="b"),
]


@pytest.mark.parametrize("value", ALLOWED, ids=lambda value: type(value).__name__)
def test_p12_langgraphs_safe_types_come_back_as_they_were_in_both_directions(value: Any) -> None:
    ours = codec()
    tag, data = ours.dumps_typed(value)
    assert (tag, data) == STOCK.dumps_typed(value)
    for back in (ours.loads_typed((tag, data)), STOCK.loads_typed((tag, data))):
        assert back == value
        assert type(back) is type(value)


@pytest.mark.parametrize(
    "value",
    [Order(1, Point(1, 2)), Address(street="x"), Colour.RED, Point(1, 2), {"deep": [Order(2)]}],
    ids=repr,
)
def test_p12_types_of_the_schema_come_back_as_they_were(value: Any) -> None:
    with pytest.raises(NotSerializableError):
        codec().dumps_typed(value)
    ours = codec().with_msgpack_allowlist(OURS)
    assert ours.loads_typed(ours.dumps_typed(value)) == value
    assert type(ours.loads_typed(ours.dumps_typed(value))) is type(value)


@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        (Stranger(1), "input", "tests.unit.codec_types.Stranger"),
        ({"a": [0, {"b": Stranger(1)}]}, 'input["a"][1]["b"]', "tests.unit.codec_types.Stranger"),
        ([Order(1, Stranger(2))], "input[0].note", "tests.unit.codec_types.Stranger"),
        (
            {"x": Address(street="s", extra=Stranger(2))},
            'input["x"].extra',
            "tests.unit.codec_types.Stranger",
        ),
        (
            [HumanMessage("a"), ToolMessage("b", tool_call_id="1", artifact=Stranger(1))],
            "input[1].artifact",
            "tests.unit.codec_types.Stranger",
        ),
        ({"x": [Address(street="s", extra={"a": object()})]}, 'input["x"][0].extra["a"]', "builtins.object"),
        ({"f": open}, 'input["f"]', "builtins.builtin_function_or_method"),
        pytest.param({"x": {1, Stranger}}, 'input["x"]{…}', "builtins.type", id="a set in no order"),
        (Send("n", {"a": object()}), 'input.arg["a"]', "builtins.object"),
        (Outer.Inner(1), "input", "tests.unit.codec_types.Outer.Inner"),
        ({Order(1, object()): 1}, None, "builtins.object"),
        ({"a": slice(1)}, 'input["a"]', "builtins.slice"),
    ],
    ids=steady,
)
def test_p11_what_cannot_be_stored_is_refused_with_its_place(
    value: Any, path: str | None, kind: str | None
) -> None:
    ours = codec(OURS)
    with pytest.raises(NotSerializableError) as caught:
        ours.dump_field(value, field="input")
    error = caught.value
    assert error.field == "input"
    assert path is None or error.path == path
    assert error.type == (kind or "tests.unit.codec_types.Stranger")
    assert error.path in str(error)
    assert error.type in str(error)


def test_p11_the_refusal_names_the_setting_that_allows_the_type() -> None:
    with pytest.raises(
        NotSerializableError, match=r'"tests.unit.codec_types.Stranger" to HOLDFAST\["SERIALIZABLE"\]'
    ):
        dumps([Stranger(1)], field="input")


@pytest.mark.parametrize(
    "value",
    [threading.Lock(), object(), slice(1), types.SimpleNamespace(a=1)],
    ids=lambda value: type(value).__name__,
)
def test_p11_no_setting_is_named_that_would_not_help(value: Any) -> None:
    with pytest.raises(NotSerializableError, match=r"a dataclass, a pydantic model or plain data") as caught:
        dumps([value], field="input")
    assert "SERIALIZABLE" not in str(caught.value)
    assert caught.value.setting is None


def test_p11_a_circular_value_is_refused_and_not_followed_for_ever() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(NotSerializableError):
        dumps(loop, field="input")


def test_p12_the_setting_allows_a_type(settings: Any) -> None:
    settings.HOLDFAST = {"SERIALIZABLE": ["tests.unit.codec_types.Stranger"]}
    assert loads(*dumps([Stranger(1)], field="x")) == [Stranger(1)]
    settings.HOLDFAST = {"SERIALIZABLE": ["tests.unit.codec_types.Missing"]}
    with pytest.raises(ConfigurationError, match="Missing"):
        codec()


@pytest.mark.parametrize("value", [Stranger(1), {"a": [Stranger(1)]}], ids=repr)
def test_p12_reading_what_is_not_allowed_raises_and_names_the_type(value: Any) -> None:
    tag, data = STOCK.dumps_typed(value)
    with pytest.raises(TypeNotAllowedError) as caught:
        loads(tag, data)
    assert caught.value.type == "tests.unit.codec_types.Stranger"
    assert caught.value.setting == "SERIALIZABLE"


def test_p12_nothing_is_unpickled() -> None:
    with pytest.raises(TypeNotAllowedError, match="unpickled"):
        loads("pickle", pickle.dumps({"a": 1}))


@pytest.mark.parametrize("method", ["fromisoformat", "today", "__class__"])
def test_p12_only_known_methods_are_called(method: str) -> None:
    inner = ormsgpack.packb(("datetime", "date", "2026-01-01", method))
    with pytest.raises(TypeNotAllowedError):
        loads("msgpack", ormsgpack.packb(ormsgpack.Ext(3, inner)))


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5])
def test_p12_no_way_of_building_runs_a_foreign_callable(code: int, capfd: pytest.CaptureFixture[str]) -> None:
    inner = ormsgpack.packb(
        ("os", "system", {0: "echo pwned"} if code in {2, 4, 5} else "echo pwned", "x"),
        option=ormsgpack.OPT_NON_STR_KEYS,
    )
    with pytest.raises(TypeNotAllowedError):
        loads("msgpack", ormsgpack.packb({"a": ormsgpack.Ext(code, inner)}))
    assert "pwned" not in capfd.readouterr().out


def test_p12_the_old_json_form_builds_messages_and_nothing_else() -> None:
    import json

    message = {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain", "schema", "messages", "HumanMessage"],
        "kwargs": {"content": "hi"},
    }
    assert loads("json", json.dumps([message]).encode()) == [HumanMessage("hi")]
    for evil in (
        {"lc": 2, "type": "constructor", "id": ["os", "system"], "args": ["echo pwned"]},
        {"lc": 1, "type": "constructor", "id": ["langchain", "prompts", "PromptTemplate"], "kwargs": {}},
        {"lc": 1, "type": "secret", "id": ["HOME"]},
    ):
        with pytest.raises(TypeNotAllowedError):
            loads("json", json.dumps({"a": evil}).encode())
    assert loads("json", b'{"lc": 1, "type": "x"}') == {"lc": 1, "type": "x"}


def test_p12_a_type_that_was_renamed_since_raises_instead_of_becoming_a_dict() -> None:
    inner = ormsgpack.packb(("tests.unit.codec_types", "Gone", {"value": 1}))
    data = ormsgpack.packb(ormsgpack.Ext(2, inner))
    with pytest.raises(TypeNotAllowedError, match="cannot be imported"):
        loads("msgpack", data, extra=[("tests.unit.codec_types", "Gone")])


def test_exceptions_in_a_value_are_stored_as_their_repr_as_upstream_does() -> None:
    assert loads(*dumps({"e": ValueError("x")}, field="v")) == {"e": "ValueError('x')"}


def test_none_takes_no_bytes() -> None:
    assert dumps(None, field="x") == ("null", None)
    assert loads("null", None) is None
    assert loads(None, None) is None
    assert loads(*dumps(memoryview(b"x").tobytes(), field="x")) == b"x"


def test_a_codec_is_immutable_and_shares_itself_where_nothing_is_added() -> None:
    plain = codec()
    wider = plain.with_msgpack_allowlist(OURS)
    assert plain is codec()
    assert wider is not plain
    assert wider.with_msgpack_allowlist(OURS) is wider
    assert Codec([Order]).allows("tests.unit.codec_types", "Order")
    assert not plain.allows("tests.unit.codec_types", "Order")


_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.datetimes()
    | st.uuids()
    | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@given(_plain)
def test_p12_plain_data_comes_back_equal_and_as_upstream_stores_it(value: Any) -> None:
    tag, data = dumps(value, field="v")
    assert loads(tag, data) == value
    assert STOCK.loads_typed((tag, data or b"")) == value
