"""Upstream's tables as this version of Holdfast knows them: what each of upstream's migrations means.

``bring_up`` does what ``PostgresSaver.setup()`` and ``PostgresStore.setup()`` would, and notes it
where they look, so that afterwards they find nothing to do. On a database that stock LangGraph has
set up it touches nothing, and needs neither an extension nor a superuser. ``drop_repeated`` takes away what
only costs; stock LangGraph works without it. ``KNOWN`` is a fingerprint of upstream's own list, by which a system check notices its next entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

CHECKPOINT_STEPS: Final[Mapping[int, str]] = {
    0: "",  # the table of migrations itself
    1: """
        CREATE TABLE IF NOT EXISTS checkpoints (
            thread_id text NOT NULL,
            checkpoint_ns text NOT NULL DEFAULT '',
            checkpoint_id text NOT NULL,
            parent_checkpoint_id text,
            type text,
            checkpoint jsonb NOT NULL,
            metadata jsonb NOT NULL DEFAULT '{}',
            PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
        )""",
    2: """
        CREATE TABLE IF NOT EXISTS checkpoint_blobs (
            thread_id text NOT NULL,
            checkpoint_ns text NOT NULL DEFAULT '',
            channel text NOT NULL,
            version text NOT NULL,
            type text NOT NULL,
            blob bytea,
            PRIMARY KEY (thread_id, checkpoint_ns, channel, version)
        )""",
    3: """
        CREATE TABLE IF NOT EXISTS checkpoint_writes (
            thread_id text NOT NULL,
            checkpoint_ns text NOT NULL DEFAULT '',
            checkpoint_id text NOT NULL,
            task_id text NOT NULL,
            idx integer NOT NULL,
            channel text NOT NULL,
            type text,
            blob bytea NOT NULL,
            PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
        )""",
    4: "ALTER TABLE checkpoint_blobs ALTER COLUMN blob DROP NOT NULL",
    5: "",
    6: "CREATE INDEX {concurrently} IF NOT EXISTS checkpoints_thread_id_idx ON checkpoints (thread_id)",
    7: "CREATE INDEX {concurrently} IF NOT EXISTS checkpoint_blobs_thread_id_idx ON checkpoint_blobs (thread_id)",
    8: "CREATE INDEX {concurrently} IF NOT EXISTS checkpoint_writes_thread_id_idx ON checkpoint_writes (thread_id)",
    9: "ALTER TABLE checkpoint_writes ADD COLUMN IF NOT EXISTS task_path text NOT NULL DEFAULT ''",
}

STORE_STEPS: Final[Mapping[int, str]] = {
    0: """
        CREATE TABLE IF NOT EXISTS store (
            prefix text NOT NULL,
            key text NOT NULL,
            value jsonb NOT NULL,
            created_at timestamptz DEFAULT CURRENT_TIMESTAMP,
            updated_at timestamptz DEFAULT CURRENT_TIMESTAMP,
            PRIMARY KEY (prefix, key)
        )""",
    1: "CREATE INDEX {concurrently} IF NOT EXISTS store_prefix_idx ON store (prefix text_pattern_ops)",
    2: """
        ALTER TABLE store
            ADD COLUMN IF NOT EXISTS expires_at timestamptz,
            ADD COLUMN IF NOT EXISTS ttl_minutes integer""",
    3: "CREATE INDEX IF NOT EXISTS idx_store_expires_at ON store (expires_at) WHERE expires_at IS NOT NULL",
}

REPEATED: Final[Mapping[str, str]] = {
    "checkpoints_thread_id_idx": "checkpoints",
    "checkpoint_blobs_thread_id_idx": "checkpoint_blobs",
    "checkpoint_writes_thread_id_idx": "checkpoint_writes",
}
"""Indexes of steps 6 to 8, with their tables: each repeats the first column of a primary key.

They cost a tenth of a step's work in the server, and where the planner expects short threads (statistics that are
old, or of an average thread) it uses them instead of the key, and reads a long thread once for each of its rows: a
prune of 10,000 checkpoints took 95 s with them and 0.7 s without.
"""

# The tables that our migrations make or adopt; store_vectors needs an extension and is upstream's to make.
TABLES: Final = (
    "checkpoint_migrations",
    "checkpoints",
    "checkpoint_blobs",
    "checkpoint_writes",
    "store_migrations",
    "store",
)


class Fingerprint(NamedTuple):
    """How many migrations there are, and a hash of their texts without white space."""

    size: int
    digest: str


KNOWN: Final[Mapping[str, Fingerprint]] = {
    "checkpoints": Fingerprint(10, "085124b3c20d25e5"),
    "store": Fingerprint(4, "9da6a8a540e1ed4a"),
}
KNOWN_RELEASE: Final = "3.2.0"
"""A release of langgraph-checkpoint-postgres whose migrations are those."""


def fingerprints() -> dict[str, Fingerprint]:
    """The same of the installed langgraph-checkpoint-postgres."""
    from langgraph.checkpoint.postgres import PostgresSaver
    from langgraph.store.postgres import PostgresStore

    return {
        "checkpoints": _fingerprint(PostgresSaver.MIGRATIONS),
        "store": _fingerprint(PostgresStore.MIGRATIONS),
    }


def _fingerprint(migrations: Any) -> Fingerprint:
    text = "\n".join(" ".join(str(migration).split()) for migration in migrations)
    return Fingerprint(len(migrations), sha256(text.encode()).hexdigest()[:16])


def bring_up(schema_editor: Any) -> None:
    """Make or bring up to date what is missing of upstream's tables, on a connection to PostgreSQL."""
    _apply(schema_editor, "checkpoint_migrations", CHECKPOINT_STEPS)
    _apply(schema_editor, "store_migrations", STORE_STEPS)


def _apply(schema_editor: Any, record: str, steps: Mapping[int, str]) -> None:
    connection = schema_editor.connection
    quoted = connection.ops.quote_name(record)
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [quoted])
        if not cursor.fetchone()[0]:
            cursor.execute(f"CREATE TABLE {quoted} (v integer PRIMARY KEY)")
        cursor.execute(f"SELECT max(v) FROM {quoted}")  # noqa: S608 - a constant
        (done,) = cursor.fetchone()
        # Tables with data stay writable while their index is built; new ones need no such care.
        adopted = done is not None and not connection.in_atomic_block
        for version, statement in steps.items():
            if done is not None and version <= done:
                continue
            if statement:
                cursor.execute(statement.replace("{concurrently}", "CONCURRENTLY" if adopted else ""))
            cursor.execute(f"INSERT INTO {quoted} (v) VALUES (%s)", [version])  # noqa: S608 - a constant


def drop_repeated(schema_editor: Any) -> None:
    """Drop those of the indexes that stand on tables which this role may alter."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'i' AND relname = ANY (%s)"
            " AND pg_table_is_visible(oid) AND pg_has_role(relowner, 'USAGE')",
            [list(REPEATED)],
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f"DROP INDEX {_concurrently(schema_editor)} IF EXISTS {name}")


def make_repeated(schema_editor: Any) -> None:
    """Make them again where they are missing, as upstream does."""
    with schema_editor.connection.cursor() as cursor:
        for name, table in REPEATED.items():
            cursor.execute(
                "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = %s::regclass", [table]
            )
            if cursor.fetchone()[0]:
                cursor.execute(
                    f"CREATE INDEX {_concurrently(schema_editor)} IF NOT EXISTS {name} ON {table} (thread_id)"
                )


def _concurrently(schema_editor: Any) -> str:
    """So that the tables stay writable, where that is possible."""
    return "" if schema_editor.connection.in_atomic_block else "CONCURRENTLY"
