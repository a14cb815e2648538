"""Items that live for a time: prolonged by reading, left out where one wishes, deleted by retention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from langgraph.store.base import GetOp, ListNamespacesOp, SearchOp

from holdfast.conf import Retention
from holdfast.persistence import DjangoStore
from holdfast.persistence.connections import connect, lending
from holdfast.persistence.models import StoreItem
from holdfast.persistence.retention import prune
from tests.integration.stores import empty_store

__all__ = ["empty_store"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_store")]

A = ("a",)


@pytest.fixture
def at() -> Iterator[Callable[[float], None]]:
    """Moves the clock that the store sees, to so many minutes from now."""
    with connect("default") as connection, lending("default", connection):

        def move(minutes: float) -> None:
            connection.execute(
                "SELECT set_config('holdfast.clock_offset', %s, false)", [f"{minutes} minutes"]
            )

        yield move


def left(key: str) -> timedelta:
    """How long it lives, from when it was written."""
    item = StoreItem.objects.get(key=key)
    assert isinstance(item.expires_at, datetime)
    assert isinstance(item.updated_at, datetime)
    return timedelta(seconds=round((item.expires_at - item.updated_at).total_seconds()))


def test_minutes_to_live_are_the_puts_own_or_the_stores_default() -> None:
    store = DjangoStore(ttl={"default_ttl": 90})
    store.put(A, "default", {})
    store.put(A, "own", {}, ttl=1.5)
    store.put(A, "ever", {}, ttl=None)
    assert left("default") == timedelta(minutes=90)
    assert left("own") == timedelta(seconds=90)
    assert StoreItem.objects.get(key="ever").expires_at is None


def test_the_settings_are_the_default_of_every_store(settings: Any) -> None:
    settings.HOLDFAST = {"STORE_TTL": {"default_ttl": 30}}
    DjangoStore().put(A, "k", {})
    assert left("k") == timedelta(minutes=30)


@pytest.mark.parametrize(
    ("config", "asked", "prolongs"),
    [
        (None, None, True),
        ({"refresh_on_read": False}, None, False),
        (None, False, False),
        ({"refresh_on_read": False}, True, True),
    ],
)
def test_reading_prolongs_a_life_as_asked_or_configured(
    at: Callable[[float], None], config: Any, asked: bool | None, prolongs: bool
) -> None:
    store = DjangoStore(ttl=config)
    store.put(A, "got", {}, ttl=10)
    store.put(A, "found", {}, ttl=10)
    at(5)
    store.get(A, "got", refresh_ttl=asked)
    store.search(A, limit=1, refresh_ttl=asked)  # the newest
    after = timedelta(minutes=15 if prolongs else 10)
    assert (left("got"), left("found")) == (after, after)


def test_reading_never_shortens_a_life_of_less_than_a_minute() -> None:
    """Upstream's column has whole minutes; stock's refresh ends such an item at once."""
    store = DjangoStore()
    store.put(A, "k", {}, ttl=0.4)
    store.get(A, "k")
    assert left("k") == timedelta(seconds=24)


def test_what_has_expired_is_seen_until_it_is_deleted_as_upstream_does(at: Callable[[float], None]) -> None:
    store = DjangoStore()
    store.put(A, "k", {}, ttl=10)
    at(11)
    assert store.get(A, "k", refresh_ttl=False) is not None
    assert len(store.search(A, refresh_ttl=False)) == 1
    assert store.sweep_ttl() == 1
    assert store.get(A, "k") is None


def test_what_has_expired_is_left_out_where_the_store_is_told_to(at: Callable[[float], None]) -> None:
    store = DjangoStore(ttl={"omit_expired": True})
    store.put(A, "short", {}, ttl=10)
    store.put(("b",), "long", {}, ttl=20)
    at(11)
    reads = [GetOp(A, "short"), SearchOp(()), ListNamespacesOp()]
    got, found, namespaces = store.batch(reads)
    assert got is None
    assert [item.key for item in found] == ["long"]
    assert namespaces == [("b",)]
    assert left("short") == timedelta(minutes=10)  # reading has not raised it from the dead
    store.put(A, "short", {"again": True})
    assert store.get(A, "short") is not None


def test_a_reader_does_not_wait_for_a_writer(at: Callable[[float], None]) -> None:
    store = DjangoStore()
    store.put(A, "k", {"n": 1}, ttl=10)
    with psycopg.connect(**_target(), autocommit=False) as writer:
        writer.execute("UPDATE store SET value = '{}'")
        assert store.get(A, "k").value == {"n": 1}
        writer.rollback()


def _target() -> dict[str, Any]:
    from holdfast.persistence.connections import conninfo

    return conninfo("default")


def keep(**wanted: Any) -> Retention:
    nothing = {"max_age": None, "run_age": None, "orphans": False, "cache": False, "store": False}
    return Retention(**(nothing | wanted))


def test_retention_deletes_what_has_expired_in_batches(at_hours: Callable[[float], None]) -> None:
    store = DjangoStore()
    for n in range(10):
        store.put(A, f"short{n}", {}, ttl=60)
    store.put(A, "long", {}, ttl=180)
    store.put(A, "ever", {})
    assert prune(keep()).store_items == 0
    assert prune(keep(store=True), dry_run=True).store_items == 10
    seen: list[int] = []
    report = prune(keep(store=True, batch=4), progress=lambda so_far: seen.append(so_far.store_items))
    assert report.store_items == 10
    assert seen == [4, 8, 10]
    assert sorted(item.key for item in store.search(())) == ["ever", "long"]


def test_p10_retention_leaves_an_item_that_is_renewed_meanwhile(at_hours: Callable[[float], None]) -> None:
    store = DjangoStore()
    store.put(A, "k", {}, ttl=60)
    with psycopg.connect(**_target(), autocommit=False) as writer:
        writer.execute("UPDATE store SET expires_at = NULL")
        assert prune(keep(store=True)).store_items == 0
        writer.commit()
    assert prune(keep(store=True)).store_items == 0
    assert store.get(A, "k") is not None
