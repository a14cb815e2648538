"""The store encrypted at rest: nothing of an item's value in the clear, and searches that find what they found before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, example, given
from hypothesis import settings as tried
from hypothesis import strategies as st
from langchain_core.embeddings import DeterministicFakeEmbedding
from langgraph.store.base import GetOp, PutOp, SearchOp

from holdfast.errors import ConfigurationError, DecryptionError, InvalidFilterError, NotSerializableError
from holdfast.persistence import DjangoStore
from holdfast.persistence.checks import check_settings
from holdfast.persistence.connections import connect
from tests.extras import extra
from tests.integration.encrypting import encryption, in_the_clear
from tests.integration.stores import Do, do, empty_store

extra("cryptography")

__all__ = ["do", "empty_store"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_store")]

WORD = "Pomelo"
INDEX = {"embed": DeterministicFakeEmbedding(size=8), "dims": 8, "fields": ["text"]}

Keys = Callable[[str | None], None]


@pytest.fixture
def keys(settings: Any) -> Keys:
    def put(active: str | None, **more: Any) -> None:
        given = encryption(active)
        given["ENCRYPTION"] |= more
        settings.HOLDFAST = given

    return put


def found(do: Do, **more: Any) -> list[str]:
    (items,) = do([SearchOp(("a",), **more)])
    return sorted(item.key for item in items)


def test_nothing_of_an_items_value_stands_in_the_clear(do: Do, keys: Keys) -> None:
    keys("a")
    do([PutOp(("a",), "x", {"fruit": WORD, "deep": [{WORD: 1}]})])
    assert in_the_clear(WORD) == {}
    (item,) = do([GetOp(("a",), "x")])
    assert item.value == {"fruit": WORD, "deep": [{WORD: 1}]}
    assert found(do) == ["x"]


def test_a_filter_finds_the_same_among_encrypted_clear_and_otherwise_encrypted_items(
    do: Do, keys: Keys
) -> None:
    for active, name in ((None, "clear"), ("a", "first"), ("b", "second")):
        keys(active)
        do([PutOp(("a",), f"{name}{n}", {"n": n, "fruit": WORD}) for n in range(40)])
    assert found(do, filter={"n": 7}, limit=5) == ["clear7", "first7", "second7"]
    assert len(found(do, filter={"fruit": WORD}, limit=200)) == 120
    assert found(do, filter={"n": {"$gte": 38}}, limit=200) == sorted(
        f"{name}{n}" for name in ("clear", "first", "second") for n in (38, 39)
    )
    keys(None)
    assert len(found(do, filter={"n": 7})) == 3


def test_pages_of_a_filtered_search_neither_overlap_nor_miss(do: Do, keys: Keys) -> None:
    keys("a")
    do([PutOp(("a",), f"k{n}", {"n": n % 3}) for n in range(200)])
    pages = [found(do, filter={"n": 1}, limit=10, offset=offset) for offset in range(0, 80, 10)]
    assert sorted(key for page in pages for key in page) == sorted(f"k{n}" for n in range(200) if n % 3 == 1)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, 1.0, -0.0, 2.5, 1e300])
    | st.sampled_from(["", "a", "b", "ab", "1", "true"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=3,
)
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([1.0, 2.5, "a", "ab", "1"])
conditions = (
    anything.filter(lambda value: not isinstance(value, dict))
    | st.dictionaries(st.sampled_from(["$eq", "$ne"]), anything, max_size=2)
    | st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), scalars, max_size=2)
)


@tried(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([{"k": 1}, {"k": True}, {"k": 1.0}, {"k": None}, {}], {"k": 1})
@example([{"k": None}, {"k": 0}, {}], {"k": {"$gte": None}})
@given(
    st.lists(st.dictionaries(st.sampled_from("kl"), anything, max_size=2), max_size=6),
    st.dictionaries(st.sampled_from("kl"), conditions, max_size=2),
)
def test_a_filter_means_the_same_whether_values_are_encrypted_or_not(
    keys: Keys, items: list[dict[str, Any]], wanted: dict[str, Any]
) -> None:
    answers = []
    for active in (None, "a"):
        keys(active)
        with connect("default") as cleaner:
            cleaner.execute("DELETE FROM store")
        store = DjangoStore()
        store.batch([PutOp(("a",), str(n), item) for n, item in enumerate(items)])
        (got,) = store.batch([SearchOp(("a",), filter=wanted, limit=50)])
        answers.append([item.key for item in got])
    assert answers[0] == answers[1]


def test_what_only_the_database_orders_is_refused(do: Do, keys: Keys) -> None:
    keys("a")
    do([PutOp(("a",), "x", {"n": [1]})])
    with pytest.raises(InvalidFilterError, match="encrypted"):
        found(do, filter={"n": {"$gt": [0]}})


def test_without_its_key_an_item_is_an_error_and_never_left_out(do: Do, keys: Keys, settings: Any) -> None:
    keys("a")
    do([PutOp(("a",), "x", {"n": 1})])
    for without in (encryption("b", "b"), {}):
        settings.HOLDFAST = without
        for ask in (GetOp(("a",), "x"), SearchOp(("a",)), SearchOp(("a",), filter={"n": 2})):
            with pytest.raises(DecryptionError, match="'a'") as caught:
                do([ask])
            assert caught.value.key == "a"


def test_an_item_that_was_moved_to_another_key_is_refused(do: Do, keys: Keys) -> None:
    keys("a")
    do([PutOp(("a",), "mine", {"admin": False}), PutOp(("a",), "other", {"admin": True})])
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE store s SET value = o.value FROM store o WHERE s.key = 'mine' AND o.key = 'other'"
        )
        assert cursor.rowcount == 1
    with pytest.raises(DecryptionError, match="another place"):
        do([GetOp(("a",), "mine")])


def test_a_value_that_looks_like_an_encrypted_one_is_refused(do: Do, keys: Keys) -> None:
    with pytest.raises(NotSerializableError, match="own form"):
        do([PutOp(("a",), "x", {"holdfast_sealed": "json:e30="})])
    keys("a")
    do([PutOp(("a",), "x", {"holdfast_sealed": "json:e30="})])
    (item,) = do([GetOp(("a",), "x")])
    assert item.value == {"holdfast_sealed": "json:e30="}


def test_a_filtered_search_prolongs_only_what_it_finds(keys: Keys) -> None:
    keys("a")
    store = DjangoStore(ttl={"default_ttl": 60, "refresh_on_read": True})
    store.batch([PutOp(("a",), key, {"n": n}, ttl=60) for n, key in enumerate("xy")])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE store SET expires_at = expires_at - interval '30 minutes'")
        assert [item.key for item in store.search(("a",), filter={"n": 1})] == ["y"]
        cursor.execute("SELECT key, expires_at > now() + interval '45 minutes' FROM store ORDER BY key")
        assert cursor.fetchall() == [("x", False), ("y", True)]


def test_vectors_are_kept_beside_encrypted_items_only_where_somebody_has_agreed(
    keys: Keys, settings: Any
) -> None:
    keys("a")
    with pytest.raises(ConfigurationError, match="readable_vectors"):
        DjangoStore(index=INDEX)
    settings.HOLDFAST = {**settings.HOLDFAST, "STORE_INDEX": INDEX}
    (problem,) = check_settings(None)
    assert "readable_vectors" in problem.msg
    keys("a", readable_vectors=True)
    DjangoStore(index=INDEX)


def test_async_search_with_a_filter_opens_what_is_encrypted(keys: Keys) -> None:
    keys("a")
    store = DjangoStore()

    async def both() -> Any:
        await asyncio.gather(*(store.aput(("a",), f"k{n}", {"n": n}) for n in range(60)))
        return await asyncio.gather(*(store.asearch(("a",), filter={"n": n}) for n in range(60)))

    assert [[item.key for item in items] for items in asyncio.run(both())] == [[f"k{n}"] for n in range(60)]
