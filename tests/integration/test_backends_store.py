"""What LangGraph's stores have in common, on every backend: namespaces that are kept apart, filters, pages, TTL."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.store.base import BaseStore

from holdfast.persistence import DjangoStore
from holdfast.persistence.backends import DJANGO, open_store
from holdfast.persistence.models import StoreItem
from tests.integration.backend_servers import NAMES, address, on

__all__ = ["address"]

pytestmark = pytest.mark.django_db(transaction=True)

EVERYWHERE = on(*[name for name in NAMES if name != "custom"])


def store_at(address: str) -> BaseStore:
    if address != DJANGO:
        return open_store(address)
    StoreItem.objects.all().delete()
    return DjangoStore()


@EVERYWHERE
def test_namespaces_are_kept_apart(address: str) -> None:
    """Also those that a search for words takes for one: in case, number, beginning, or as no word at all."""
    store = store_at(address)
    places = [
        ("users",),
        ("Users",),
        ("user",),
        ("users", "1"),
        ("users2", "1"),
        ("the",),
        ("ab", "c-d e"),
        ("abc",),
    ]
    for number, place in enumerate(places):
        store.put(place, "key", {"n": number})
        store.put(place, "other-key:1", {"n": -number})
    for number, place in enumerate(places):
        item = store.get(place, "key")
        assert item is not None, place
        assert (item.value, item.namespace, item.key) == ({"n": number}, place, "key")
    assert {item.namespace for item in store.search(("users",), limit=100)} >= {("users",), ("users", "1")}
    assert {item.namespace for item in store.search(("users",), limit=100)} & {("Users",), ("user",)} == set()
    assert {item.namespace for item in store.search(("users", "1"), limit=100)} == {("users", "1")}
    store.delete(("users",), "key")
    assert store.get(("users",), "key") is None
    assert store.get(("Users",), "key") is not None


@EVERYWHERE
def test_what_is_put_again_replaces_what_was_there(address: str) -> None:
    store = store_at(address)
    for number in range(3):
        store.put(("a", "b"), "key", {"n": number})
    assert [item.value for item in store.search(("a", "b"))] == [{"n": 2}]


@EVERYWHERE
def test_a_filter_looks_at_all_and_a_page_at_what_fits(address: str) -> None:
    store = store_at(address)
    for number in range(30):
        store.put(("numbers",), f"{number:02}", {"n": number, "even": number % 2 == 0})
    assert len(store.search(("numbers",), limit=100)) == 30
    assert {item.value["n"] for item in store.search(("numbers",), filter={"even": True}, limit=100)} == {
        *range(0, 30, 2)
    }
    assert [item.key for item in store.search(("numbers",), filter={"n": 29})] == ["29"]
    pages = [store.search((), limit=7, offset=offset) for offset in range(0, 35, 7)]
    assert sorted(item.key for page in pages for item in page) == [f"{number:02}" for number in range(30)]


@on("django", "postgresql", "memory", "redis", "mongodb")
def test_all_namespaces_are_listed(address: str) -> None:
    store = store_at(address)
    for number in range(30):
        store.put(("users", f"{number:02}"), "key", {"n": number})
        store.put(("users", f"{number:02}"), "other", {"n": number})
    store.put(("others",), "key", {})
    listed = store.list_namespaces(limit=100)
    assert sorted(listed) == sorted([("others",), *[("users", f"{number:02}") for number in range(30)]])
    assert len(store.list_namespaces(prefix=("users",), limit=100)) == 30
    assert store.list_namespaces(prefix=("users",), max_depth=1) == [("users",)]
    assert store.list_namespaces(suffix=("07",)) == [("users", "07")]
    pages = [store.list_namespaces(limit=10, offset=offset) for offset in (0, 10, 20, 30)]
    assert sorted(each for page in pages for each in page) == sorted(listed)


@on("mongodb")
def test_a_time_to_live_of_one_item_is_refused_where_it_would_do_nothing(address: str, settings: Any) -> None:
    """MongoDB has one time for all of a collection."""
    settings.HOLDFAST = {**settings.HOLDFAST, "STORE_TTL": {"default_ttl": 60.0, "refresh_on_read": False}}
    store = store_at(address)
    store.put(("a",), "key", {"n": 1})
    with pytest.raises(NotImplementedError):
        store.put(("a",), "key", {"n": 1}, ttl=5)
    inner: Any = store
    assert any(index.get("expireAfterSeconds") == 3600 for index in inner.inner.collection.list_indexes())


@on("django", "redis", "mongodb")
def test_reading_changes_no_times(address: str) -> None:
    store = store_at(address)
    store.put(("a",), "key", {"n": 1})
    first, second = store.get(("a",), "key"), store.get(("a",), "key")
    assert first is not None
    assert second is not None
    assert first.updated_at == second.updated_at
