"""Stock PostgresStore and DjangoStore go on from each other's items, on one table."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from langgraph.store.base import BaseStore
from langgraph.store.postgres import PostgresStore
from psycopg.rows import dict_row

from holdfast.persistence import DjangoStore
from holdfast.persistence.connections import conninfo
from tests.integration.stores import empty_store

__all__ = ["empty_store"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_store")]

NAMESPACES = [("users", "1"), ("users", "1", "prefs"), ("users", "2"), ("groups",), ("users_", "1")]


@pytest.fixture
def stock() -> Iterator[PostgresStore]:
    with psycopg.connect(
        **{**conninfo("default"), "autocommit": True, "row_factory": dict_row}
    ) as connection:
        store = PostgresStore(connection)
        store.setup()
        yield store


def fill(store: BaseStore) -> None:
    for n, namespace in enumerate(NAMESPACES):
        store.put(
            namespace, f"k{n}", {"n": n, "name": f"ñ{n}", "deep": {"list": [1, None, 2.5]}}, ttl=n or None
        )
    store.put(("users", "1"), "gone", {})
    store.delete(("users", "1"), "gone")


@pytest.mark.parametrize("stock_writes", [True, False])
def test_one_reads_what_the_other_wrote(stock: PostgresStore, stock_writes: bool) -> None:
    ours = DjangoStore()
    writer, reader = (stock, ours) if stock_writes else (ours, stock)
    fill(writer)
    for n, namespace in enumerate(NAMESPACES):
        theirs, mine = (store.get(namespace, f"k{n}", refresh_ttl=False) for store in (writer, reader))
        assert theirs is not None
        assert theirs == mine
    for prefix in [(), ("users",), ("users", "1"), ("nobody",)]:
        assert writer.search(prefix, refresh_ttl=False) == reader.search(prefix, refresh_ttl=False)
    for question in [
        {},
        {"prefix": ("users",)},
        {"suffix": ("1",)},
        {"max_depth": 1},
        {"prefix": ("*", "1")},
    ]:
        assert writer.list_namespaces(**question) == reader.list_namespaces(**question)
    for wanted in [{"n": 1}, {"deep": {"$eq": {"list": [1, None, 2.5]}}}, {"n": {"$ne": 1}}, {"x": None}]:
        assert writer.search((), filter=wanted) == reader.search((), filter=wanted)


def test_one_goes_on_where_the_other_was(stock: PostgresStore) -> None:
    ours = DjangoStore()
    stock.put(("a",), "k", {"by": "stock"}, ttl=5)
    ours.put(("a",), "k", {"by": "ours"})
    first = stock.get(("a",), "k")
    assert first is not None
    assert first.value == {"by": "ours"}
    stock.delete(("a",), "k")
    assert ours.get(("a",), "k") is None


def test_stock_prolongs_and_sweeps_what_ours_wrote(stock: PostgresStore) -> None:
    DjangoStore().put(("a",), "k", {}, ttl=3)
    stock.get(("a",), "k", refresh_ttl=True)
    assert stock.sweep_ttl() == 0
    DjangoStore().put(("a",), "k", {}, ttl=-1)
    assert stock.sweep_ttl() == 1
