"""The first migration on an empty and on a stock database, and the way back; each on a database of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.core.management import call_command
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.store.postgres import PostgresStore
from psycopg import sql
from psycopg.rows import dict_row

from holdfast.persistence import checks, toast, upstream
from holdfast.persistence.checks import check_upstream
from holdfast.persistence.connections import connect, conninfo
from tests.integration.claims import chain, config_for

pytestmark = pytest.mark.django_db(transaction=True)

Manage = Callable[..., str]


class Database:
    """A database that belongs to a role without any special right."""

    def __init__(self, name: str, role: str) -> None:
        self.name, self.role = name, role
        base = conninfo("default")
        self._params = {key: base[key] for key in ("host", "port") if key in base}

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(**self._params, dbname=self.name, user=self.role, autocommit=True)

    def stock(self) -> PostgresSaver:
        """Upstream's saver, set up; closed with the process."""
        connection = psycopg.connect(
            **self._params, dbname=self.name, user=self.role, autocommit=True, row_factory=dict_row
        )
        saver = PostgresSaver(connection)
        saver.setup()
        PostgresStore(connection).setup()
        return saver

    def manage(self, *arguments: str) -> str:
        """Run manage.py in a process of its own, as this role on this database."""
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            env={**os.environ, "PGDATABASE": self.name, "PGUSER": self.role, "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def structure(self, *, but: Collection[str] = ()) -> list[Any]:
        """Columns, defaults, keys and indexes of upstream's tables, but for indexes of these names."""
        with self.connect() as connection:
            columns = connection.execute(
                "SELECT table_name, column_name, data_type, is_nullable, column_default"
                " FROM information_schema.columns WHERE table_name = ANY (%s) ORDER BY 1, 2",
                [list(upstream.TABLES)],
            ).fetchall()
            indexes = connection.execute(
                "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE tablename = ANY (%s)"
                " AND NOT indexname = ANY (%s) ORDER BY 1, 2",
                [list(upstream.TABLES), list(but)],
            ).fetchall()
            noted = connection.execute(
                "SELECT 'c', v FROM checkpoint_migrations UNION ALL SELECT 's', v FROM store_migrations ORDER BY 1, 2"
            ).fetchall()
        return [*columns, *indexes, *noted]

    def contents(self) -> dict[str, list[Any]]:
        """Every row of upstream's tables, with the transaction that wrote it."""
        with self.connect() as connection:
            return {
                table: connection.execute(
                    sql.SQL("SELECT xmin::text, t::text FROM {} t ORDER BY 2").format(sql.Identifier(table))
                ).fetchall()
                for table in upstream.TABLES
            }


@pytest.fixture
def fresh() -> Iterator[Callable[[], Database]]:
    """Makes databases owned by a role that is no superuser and may not create databases or roles."""
    role = f"hf_plain_{uuid4().hex[:8]}"
    made: list[str] = []
    with connect("default") as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE").format(sql.Identifier(role))
        )

        def make() -> Database:
            name = f"hf_saver_{uuid4().hex[:8]}"
            admin.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(role))
            )
            made.append(name)
            return Database(name, role)

        yield make
        for name in made:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def fill(saver: PostgresSaver) -> Any:
    """A finished thread and an item, by upstream's own means."""
    graph = chain(3).compile(checkpointer=saver)
    PostgresStore(saver.conn).put(("users",), "a", {"n": 1})
    return graph.invoke({"items": [], "count": 0}, config_for("old-thread"), durability="sync")


def test_an_empty_database_gets_what_upstreams_setup_makes_without_a_superuser(
    fresh: Callable[[], Database],
) -> None:
    ours, theirs = fresh(), fresh()
    theirs.stock().conn.close()
    ours.manage("migrate", "holdfast_persistence")
    assert ours.structure() == theirs.structure(but=upstream.REPEATED)
    with ours.connect() as connection:
        extensions = connection.execute("SELECT extname FROM pg_extension").fetchall()
    assert extensions == [("plpgsql",)]


def test_a_stock_database_is_adopted_with_its_data_untouched(fresh: Callable[[], Database]) -> None:
    database = fresh()
    saver = database.stock()
    result = fill(saver)
    before, rows = database.structure(), database.contents()
    assert rows["checkpoints"]
    assert rows["store"]

    without = database.structure(but=upstream.REPEATED)
    database.manage("migrate", "holdfast_persistence")
    assert database.structure() == without
    assert database.contents() == rows

    database.manage("migrate", "holdfast_persistence", "zero")
    assert database.structure() == before
    assert database.contents() == rows
    with database.connect() as connection:
        left = connection.execute("SELECT relname FROM pg_class WHERE relname LIKE 'holdfast%'").fetchall()
    assert left == []

    database.manage("migrate", "holdfast_persistence")
    assert database.contents() == rows
    assert chain(3).compile(checkpointer=saver).get_state(config_for("old-thread")).values == result
    saver.conn.close()


def test_tables_of_another_owner_are_adopted_without_being_altered(fresh: Callable[[], Database]) -> None:
    database = fresh()
    database.stock().conn.close()
    with connect("default", dbname=database.name) as admin:
        for table in upstream.TABLES:
            admin.execute(sql.SQL("ALTER TABLE {} OWNER TO CURRENT_USER").format(sql.Identifier(table)))
            admin.execute(
                sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}").format(
                    sql.Identifier(table), sql.Identifier(database.role)
                )
            )
    before, compressed = database.structure(), compression(database)
    database.manage("migrate", "holdfast_persistence")
    assert database.structure() == before
    assert {name: compression(database)[name] for name in compressed} == compressed


def test_an_older_stock_database_is_brought_up_to_date(fresh: Callable[[], Database]) -> None:
    database, today = fresh(), fresh()
    today.stock().conn.close()
    with database.connect() as connection:
        for version, migration in enumerate(PostgresSaver.MIGRATIONS[:6]):
            connection.execute(migration.encode())
            connection.execute("INSERT INTO checkpoint_migrations (v) VALUES (%s)", [version])
        connection.execute("INSERT INTO checkpoint_writes VALUES ('t', '', 'c', 'task', 0, 'ch', 'null', '')")
    database.manage("migrate", "holdfast_persistence")
    assert database.structure() == today.structure(but=upstream.REPEATED)
    with database.connect() as connection:
        assert connection.execute("SELECT thread_id, task_path FROM checkpoint_writes").fetchall() == [
            ("t", "")
        ]


def test_upstreams_next_migration_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_upstream(None) == []
    assert upstream.fingerprints() == upstream.KNOWN
    assert version("langgraph-checkpoint-postgres") == upstream.KNOWN_RELEASE, "else each command imports it"
    assert len(upstream.CHECKPOINT_STEPS) == upstream.KNOWN["checkpoints"].size
    assert len(upstream.STORE_STEPS) == upstream.KNOWN["store"].size

    monkeypatch.setattr(checks, "KNOWN_RELEASE", "one before")
    assert check_upstream(None) == []
    monkeypatch.setattr(PostgresSaver, "MIGRATIONS", [*PostgresSaver.MIGRATIONS, "ALTER TABLE checkpoints …"])
    (warning,) = check_upstream(None)
    assert warning.id == "holdfast.W001"
    assert "checkpoints" in warning.msg


def test_a_changed_text_of_an_old_migration_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *rest = PostgresStore.MIGRATIONS
    monkeypatch.setattr(checks, "KNOWN_RELEASE", "one before")
    monkeypatch.setattr(PostgresStore, "MIGRATIONS", [first.replace("jsonb", "json"), *rest])
    assert [warning.id for warning in check_upstream(None)] == ["holdfast.W001"]


def test_models_and_migrations_agree() -> None:
    call_command("makemigrations", "holdfast_persistence", check=True, dry_run=True, verbosity=0)


def test_checkpoints_can_be_read_under_a_single_key() -> None:
    from holdfast.persistence import DjangoSaver
    from holdfast.persistence.models import Checkpoint, CheckpointView

    thread_id = str(uuid4())
    chain(2).compile(checkpointer=DjangoSaver()).invoke({"items": [], "count": 0}, config_for(thread_id))
    entries = CheckpointView.objects.filter(thread_id=thread_id).order_by("checkpoint_id")
    assert [entry.step for entry in entries] == [-1, 0, 1, 2]
    assert entries[0].source == "input"
    assert CheckpointView.objects.get(pk=entries[0].pk).checkpoint_id == entries[0].checkpoint_id
    assert Checkpoint.objects.filter(thread_id=thread_id).count() == 4


def compression(database: Database) -> dict[str, str]:
    """How each column with values of users is compressed: '' by the server's default, 'l' with lz4."""
    with database.connect() as connection:
        found = connection.execute(
            "SELECT c.relname || '.' || a.attname, a.attcompression::text FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relname = ANY (%s) AND a.attnum > 0"
            " AND a.atttypid IN ('bytea'::regtype, 'jsonb'::regtype)",
            [list(toast.TABLES)],
        ).fetchall()
    return {name: method.strip("\x00 ") for name, method in found}


def has_lz4(database: Database) -> bool:
    with database.connect() as connection:
        found = connection.execute(
            "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
        ).fetchone()
    return bool(found and found[0])


def test_large_values_are_compressed_with_lz4_where_the_server_has_it(fresh: Callable[[], Database]) -> None:
    database = fresh()
    database.manage("migrate", "holdfast_persistence")
    if not has_lz4(database):
        pytest.skip("this PostgreSQL was built without lz4")
    found = compression(database)
    assert {"checkpoint_blobs.blob", "checkpoint_writes.blob", "store.value", "holdfast_run.result"} <= set(
        found
    )
    assert set(found.values()) == {"l"}
    with database.connect() as connection:
        connection.execute(
            "INSERT INTO checkpoint_blobs VALUES ('t', '', 'c', '1', 'bytes', repeat('x', 9000)::bytea)"
        )
        stored = connection.execute("SELECT pg_column_compression(blob) FROM checkpoint_blobs").fetchone()
        assert stored == ("lz4",)
    database.manage("migrate", "holdfast_persistence", "0009")
    assert set(compression(database).values()) == {""}


def test_a_server_without_lz4_is_migrated_all_the_same(fresh: Callable[[], Database]) -> None:
    database = fresh()
    database.manage("migrate", "holdfast_persistence", "0009")
    with database.connect() as connection:
        # What an older server, or one that was built without lz4, shows of itself.
        connection.execute("CREATE SCHEMA older")
        connection.execute(
            "CREATE VIEW older.pg_settings AS SELECT * FROM pg_catalog.pg_settings"
            " WHERE name <> 'default_toast_compression'"
        )
        connection.execute(
            sql.SQL("ALTER ROLE {} SET search_path = older, pg_catalog, public").format(
                sql.Identifier(database.role)
            )
        )
    database.manage("migrate", "holdfast_persistence")
    assert set(compression(database).values()) == {""}
