"""DjangoStore's operations, the same for threads and for asyncio tasks."""

from __future__ import annotations

import enum
import math
import sys
from typing import Any

import psycopg
import pytest
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)

from holdfast.errors import InvalidFilterError, InvalidInputError, NotSerializableError
from holdfast.persistence import DjangoStore
from holdfast.persistence.connections import connect
from holdfast.persistence.models import StoreItem
from tests.integration.stores import Do, do, empty_store

__all__ = ["do", "empty_store"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_store")]


def put(do: Do, namespace: tuple[str, ...], **items: dict[str, Any]) -> None:
    do([PutOp(namespace, key, value) for key, value in items.items()])


def keys(found: Any) -> list[str]:
    return [item.key for item in found]


def search(do: Do, *prefix: str, **more: Any) -> list[str]:
    (found,) = do([SearchOp(prefix, **more)])
    return sorted(keys(found))


class _Counting(psycopg.Cursor[Any]):
    count = 0

    def execute(self, *args: Any, **kw: Any) -> Any:
        type(self).count += 1
        return super().execute(*args, **kw)


def test_a_batch_reads_what_was_before_it_and_then_writes(do: Do) -> None:
    put(do, ("a",), x={"n": 1}, y={"n": 2})
    got, found, namespaces, *written = do(
        [
            GetOp(("a",), "x"),
            SearchOp(("a",)),
            ListNamespacesOp(),
            PutOp(("a",), "x", {"n": 3}),
            PutOp(("b",), "z", {"n": 4}),
            PutOp(("a",), "y", None),
        ]
    )
    assert got.value == {"n": 1}
    assert sorted(keys(found)) == ["x", "y"]
    assert namespaces == [("a",)]
    assert written == [None, None, None]
    got, gone, new = do([GetOp(("a",), "x"), GetOp(("a",), "y"), GetOp(("b",), "z")])
    assert (got.value, gone, new.value) == ({"n": 3}, None, {"n": 4})


def test_each_kind_of_operation_is_one_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psycopg, "Cursor", _Counting)
    monkeypatch.setattr(_Counting, "count", 0)
    store = DjangoStore()
    store.batch([PutOp(("ns", str(n)), f"k{n}", {"n": n}) for n in range(50)])
    assert _Counting.count == 1
    store.batch([GetOp(("ns", str(n)), f"k{n}") for n in range(50)])
    assert _Counting.count == 2
    store.batch([SearchOp(("ns", str(n)), filter={"n": n}) for n in range(50)])
    assert _Counting.count == 3
    store.batch([ListNamespacesOp(max_depth=depth) for depth in (1, 2)])
    assert _Counting.count == 4


def test_an_item_that_is_asked_for_twice_is_there_twice(do: Do) -> None:
    put(do, ("a",), x={"n": 1})
    once, none, again = do([GetOp(("a",), "x"), GetOp(("a",), "?"), GetOp(("a",), "x")])
    assert once == again
    assert none is None


def test_of_two_writes_of_one_item_the_later_counts(do: Do) -> None:
    do(
        [
            PutOp(("a",), "x", {"n": 1}),
            PutOp(("a",), "x", None),
            PutOp(("a",), "y", None),
            PutOp(("a",), "y", {}),
        ]
    )
    assert search(do) == ["y"]


def test_an_update_keeps_the_time_of_creation(do: Do) -> None:
    put(do, ("a",), x={"n": 1})
    (before,) = do([GetOp(("a",), "x")])
    put(do, ("a",), x={"n": 2})
    (after,) = do([GetOp(("a",), "x")])
    assert after.created_at == before.created_at
    assert after.updated_at > before.updated_at


def test_numbers_are_compared_as_numbers(do: Do) -> None:
    put(
        do,
        ("a",),
        nine={"n": 9},
        ten={"n": 10},
        half={"n": 9.5},
        text={"n": "95"},
        none={"n": None},
        other={},
    )
    assert search(do, "a", filter={"n": {"$gt": 9}}) == ["half", "ten"]
    assert search(do, "a", filter={"n": {"$gte": 9, "$lt": 10}}) == ["half", "nine"]
    assert search(do, "a", filter={"n": {"$lte": 9.5}}) == ["half", "nine"]
    assert search(do, "a", filter={"n": 9.0}) == ["nine"]
    assert search(do, "a", filter={"n": {"$gt": -1e300}}) == ["half", "nine", "ten"]


def test_texts_are_compared_as_texts_and_kinds_are_not_mixed(do: Do) -> None:
    put(do, ("a",), may={"d": "2026-05-01"}, june={"d": "2026-06-01"}, number={"d": 2026}, yes={"d": True})
    assert search(do, "a", filter={"d": {"$gt": "2026-05-15"}}) == ["june"]
    assert search(do, "a", filter={"d": {"$lte": "2026-06-01"}}) == ["june", "may"]
    assert search(do, "a", filter={"d": {"$gte": 0}}) == ["number"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"v": "a"}, ["text"]),
        ({"v": None}, ["null"]),
        ({"v": {"$eq": None}}, ["null"]),
        ({"v": {"$ne": "a"}}, ["dict", "list", "null"]),  # not those without it, as upstream
        ({"v": ["a", "b"]}, ["list"]),
        ({"v": ["a"]}, []),
        ({"v": {"$eq": {"deep": 1, "more": 2}}}, ["dict"]),
        ({"v": {"$eq": {"deep": 1}}}, []),
        ({"v": "a", "w": 1}, ["text"]),
        ({"v": "a", "w": 2}, []),
        ({}, ["dict", "list", "null", "other", "text"]),
    ],
)
def test_equality_is_of_whole_values(do: Do, wanted: dict[str, Any], found: list[str]) -> None:
    put(
        do,
        ("a",),
        text={"v": "a", "w": 1},
        null={"v": None},
        list={"v": ["a", "b"]},
        dict={"v": {"deep": 1, "more": 2}},
        other={"w": 1},
    )
    assert search(do, "a", filter=wanted) == found


@pytest.mark.parametrize(
    "hostile", ["x' OR true --", "x\"}'", "%", "%s", "\\", "{}", "'; DROP TABLE store; --", "$1", "e'"]
)
def test_p12_a_filter_is_data_wherever_it_stands(do: Do, hostile: str) -> None:
    """CVE-2025-64104 and CVE-2025-67644 were filters that became part of the statement."""
    put(do, ("a",), secret={"n": 1}, right={hostile: hostile})
    assert search(do, "a", filter={hostile: hostile}) == ["right"]
    assert search(do, "a", filter={hostile: 1}) == []
    assert search(do, "a", filter={hostile: {"$gt": ""}}) == ["right"]
    assert search(do, "a", filter={"n": hostile}) == []
    with pytest.raises(InvalidFilterError):
        search(do, "a", filter={"n": {hostile: 1}})
    do([PutOp((hostile,), hostile, {"n": 2})])
    assert search(do, hostile) == [hostile]
    (found,) = do([ListNamespacesOp(match_conditions=_prefix(hostile))])
    assert found == [(hostile,)]
    assert StoreItem.objects.count() == 3


def test_a_filter_that_is_no_condition_is_refused(do: Do) -> None:
    for wrong in ({"a": {"$near": 1}}, {"a": {"plain": 1}}):
        with pytest.raises(ValueError, match="Unsupported operator"):
            search(do, filter=wrong)
    with pytest.raises(NotSerializableError, match="nan is no number"):
        search(do, filter={"a": math.nan})


def test_a_prefix_ends_at_the_border_of_a_label(do: Do) -> None:
    for namespace in [("foo",), ("foo", "x"), ("foobar",), ("foo-bar",), ("foo/x",), ("fo_",), ("Foo",)]:
        do([PutOp(namespace, ".".join(namespace), {})])
    assert search(do, "foo") == ["foo", "foo.x"]
    assert search(do, "fo_") == ["fo_"]
    assert len(search(do)) == 7


def test_newest_first_page_by_page(do: Do) -> None:
    for n in range(5):
        put(do, ("a",), **{f"k{n}": {"n": n}})
    (page, last, beyond) = do([SearchOp(("a",), limit=2, offset=n) for n in (0, 4, 9)])
    assert (keys(page), keys(last), keys(beyond)) == (["k4", "k3"], ["k0"], [])


@pytest.mark.parametrize("size", [-1, 1.5, True, None])
@pytest.mark.parametrize("field", ["limit", "offset"])
def test_p11_a_page_that_is_none_is_refused(do: Do, field: str, size: Any) -> None:
    for kind in (SearchOp, ListNamespacesOp):
        op = kind(("a",)) if kind is SearchOp else kind()
        with pytest.raises(InvalidInputError, match=f"{field}: {size}") as refused:
            do([PutOp(("a",), "k", {}), op._replace(**{field: size})])
        assert refused.value.field == field
    assert search(do, "a") == []


def test_a_page_may_be_larger_than_any_store(do: Do) -> None:
    put(do, ("a",), k={"n": 1})
    assert search(do, "a", limit=sys.maxsize) == search(do, "a", limit=2**70, filter={"n": 1}) == ["k"]
    assert search(do, "a", offset=2**70) == []


def test_pages_of_items_of_one_moment_do_not_overlap(do: Do) -> None:
    names = [f"k{(7 * n) % 20:02}" for n in range(20)]
    for name in names:
        put(do, ("a",), **{name: {}})
    with connect("default") as other:
        other.execute("UPDATE store SET updated_at = '2026-11-30'")
    pages = do([SearchOp(("a",), limit=6, offset=n) for n in range(0, 20, 6)])
    assert [key for page in pages for key in keys(page)] == sorted(names)


def _prefix(*path: str, suffix: bool = False) -> Any:
    return (MatchCondition("suffix" if suffix else "prefix", path),)


def test_namespaces_by_prefix_suffix_wildcard_and_depth(do: Do) -> None:
    for namespace in [("a", "b", "c"), ("a", "x", "c"), ("a", "b"), ("b",), ("ab", "c"), ("a", "b", "d")]:
        put(do, namespace, k={})

    def listed(*conditions: Any, **more: Any) -> list[str]:
        (found,) = do([ListNamespacesOp(match_conditions=conditions or None, **more)])
        return [".".join(each) for each in found]

    assert len(listed()) == 6
    assert sorted(listed(*_prefix("a"))) == ["a.b", "a.b.c", "a.b.d", "a.x.c"]
    assert sorted(listed(*_prefix("c", suffix=True))) == ["a.b.c", "a.x.c", "ab.c"]
    assert sorted(listed(*_prefix("a", "*", "c"))) == ["a.b.c", "a.x.c"]
    assert sorted(listed(*_prefix("a"), *_prefix("*", "d", suffix=True))) == ["a.b.d"]
    assert sorted(listed(max_depth=1)) == ["a", "ab", "b"]
    assert listed(*_prefix("a"), max_depth=2, limit=1, offset=1) == ["a.x"]
    assert listed(*_prefix("nothing")) == []


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, {"b": object()}]}, 'item "k"["a"][1]["b"]'),
        ({"a": math.nan}, 'item "k"["a"]'),
        ({"a": math.inf}, 'item "k"["a"]'),
        ({"a": {1: "one"}}, 'item "k"["a"]'),
        ({"a": b"bytes"}, 'item "k"["a"]'),
        ({"a": {"set"}}, 'item "k"["a"]'),
        ({"a": "half \ud800"}, 'item "k"["a"]'),
        ({"a": "nul \x00"}, 'item "k"["a"]'),
        ({"nul \x00": 1}, 'item "k" key'),
        ({"a": Colour.RED}, 'item "k"["a"]'),
    ],
)
def test_p11_what_json_cannot_hold_is_refused_with_its_place(do: Do, value: Any, path: str) -> None:
    with pytest.raises(NotSerializableError) as caught:
        do([PutOp(("a",), "good", {}), PutOp(("a",), "k", value)])
    assert caught.value.path.replace("'", '"').startswith(path)
    assert StoreItem.objects.count() == 0


def test_p11_a_value_that_contains_itself_is_refused(do: Do) -> None:
    value: dict[str, Any] = {}
    value["self"] = value
    with pytest.raises(NotSerializableError, match="contains itself"):
        do([PutOp(("a",), "k", value)])


@pytest.mark.parametrize("namespace", [("a.b",), ("",), (1,), ("a\x00",)])
def test_p11_a_label_that_would_be_another_namespace_is_refused(do: Do, namespace: Any) -> None:
    with pytest.raises((InvalidNamespaceError, InvalidInputError)):
        do([PutOp(namespace, "k", {})])
    assert StoreItem.objects.count() == 0


def test_p11_a_key_that_is_no_text_is_refused(do: Do) -> None:
    for key in (1, "a\x00", "\udc00"):
        with pytest.raises(InvalidInputError, match="key"):
            do([PutOp(("a",), key, {})])


def test_values_come_back_as_they_were(do: Do) -> None:
    value = {
        "text": 'äö"\\ 😀\n',
        "": "",
        "int": 2**70,
        "float": 0.1,
        "small": 5e-324,
        "nested": {"list": [None, True, False, {"deep": []}]},
    }
    put(do, ("ä ö", "😀"), **{"k'": value})
    (got,) = do([GetOp(("ä ö", "😀"), "k'")])
    assert got.value == value
