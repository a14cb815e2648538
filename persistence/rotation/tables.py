"""Which columns of which tables hold what is encrypted, and how a row of each is brought under a key.

A ``change`` alters the row, which is a dict of its columns, and says whether anything changed. Touches the
database only where a value moves from one table to another: the plain values of a checkpoint, which
stand in its JSON while nothing is encrypted, go to the blobs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from holdfast.persistence import codec
from holdfast.persistence.connections import Connection
from holdfast.persistence.encryption import Binding, Keyring, bindings, key_of
from holdfast.persistence.encryption.inline import (
    SEALED,
    key_of_json,
    key_of_text,
    open_json,
    open_rest,
    open_text,
    seal_json,
    seal_rest,
    seal_text,
)
from holdfast.persistence.encryption.salted import resealed_config
from holdfast.persistence.saver.metadata import is_readable
from holdfast.persistence.sql import query

Row = dict[str, Any]
MOVED: Final = "moved"
"""In a checkpoint's row: the rows of checkpoint_blobs that its plain values become."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One table."""

    name: str
    key: Mapping[str, str]
    """The columns of its primary key, with their types."""
    parts: Mapping[str, str]
    """The columns that are rewritten, with their types."""
    also: tuple[str, ...] = ()
    """Columns that are read besides."""
    size: str
    """The column that is weighed."""
    change: Callable[[Row, Keyring], bool]
    before: Callable[[Connection, Sequence[Row], Keyring], None] | None = None
    """What goes before the rows are written, in their transaction."""

    def stored(self, name: str, row: Row) -> Any:
        """The column's value as a parameter."""
        value = row[name]
        return json.dumps(value) if self.parts[name] == "jsonb" and value is not None else value


def _pair(row: Row, type_: str, value: str, binding: Binding, ring: Keyring) -> bool:
    tag, data = row[type_], row[value]
    if tag is None or data is None or tag == "empty" or key_of(tag) == ring.active:
        return False
    row[type_], row[value] = ring.seal(*ring.open(tag, bytes(data), binding), binding)
    return True


def _rest(row: Row, column: str, readable: Callable[[str], bool], binding: Binding, ring: Keyring) -> bool:
    value = row[column]
    if not isinstance(value, dict):
        return False
    if SEALED in value and key_of_json({SEALED: value[SEALED]}) == ring.active:
        return False
    row[column] = seal_rest(open_rest(value, binding, ring), readable, binding, ring)
    return bool(row[column] != value)


def _blob(row: Row, ring: Keyring) -> bool:
    return _pair(
        row, "type", "blob", bindings.channel(row["checkpoint_ns"], row["channel"], row["version"]), ring
    )


def _write(row: Row, ring: Keyring) -> bool:
    binding = bindings.write(row["checkpoint_ns"], row["checkpoint_id"], row["task_id"], row["channel"])
    return _pair(row, "type", "blob", binding, ring)


def _cached(row: Row, ring: Keyring) -> bool:
    return _pair(row, "type", "value", bindings.cached(row["version"], row["namespace"], row["key"]), ring)


def _effect(row: Row, ring: Keyring) -> bool:
    changed = _pair(row, "result_type", "result", bindings.effect("result", row["key"]), ring)
    text, binding = row["error"], bindings.effect("error", row["key"])
    if text and key_of_text(text) != ring.active:
        row["error"] = seal_text(open_text(text, binding, ring), binding, ring)
        changed |= bool(row["error"] != text)
    return changed


def _item(row: Row, ring: Keyring) -> bool:
    if key_of_json(row["value"]) == ring.active:
        return False
    binding = bindings.item(row["prefix"], row["key"])
    row["value"] = seal_json(open_json(row["value"], binding, ring), binding, ring)
    return True


def _run(row: Row, ring: Keyring) -> bool:
    run_id, changed = row["id"], False
    for name in ("input", "context", "result", "answers"):
        changed |= _pair(row, f"{name}_type", name, bindings.run(name, run_id), ring)
    changed |= _rest(row, "error", lambda name: name == "type", bindings.run("error", run_id), ring)
    for question in row["questions"] or ():
        if key_of_json(question["value"]) != ring.active:
            binding = bindings.question(run_id, question["id"])
            question["value"] = seal_json(open_json(question["value"], binding, ring), binding, ring)
            changed = True
    config = resealed_config(row["config"], run_id, ring)
    changed |= bool(config != row["config"])
    row["config"] = config
    return changed


def _checkpoint(row: Row, ring: Keyring) -> bool:
    binding = bindings.checkpoint(row["checkpoint_ns"], row["checkpoint_id"])
    before = row["checkpoint"]
    changed = _rest(row, "metadata", is_readable, binding, ring)
    row[MOVED] = _moved(row, ring) if ring.encrypts else []
    return changed or bool(row["checkpoint"] != before)


def _moved(row: Row, ring: Keyring) -> list[tuple[str, str, str, bytes]]:
    """Take the plain values out of the checkpoint's JSON: channel, version, type and bytes of each that has no blob."""
    checkpoint = dict(row["checkpoint"])
    versions, values = checkpoint.get("channel_versions") or {}, dict(checkpoint.get("channel_values") or {})
    moved = []
    for channel, value in list(values.items()):
        if channel not in versions:
            continue  # nobody would find it
        if channel in row["stored"]:
            if value is True:
                continue  # upstream's mark that a snapshot stands in the blobs
        else:
            version = str(versions[channel])
            tag, data = codec.encoded(value, field=f"state[{channel!r}]")
            where = bindings.channel(row["checkpoint_ns"], channel, version)
            moved.append((channel, version, *ring.seal(tag, data or b"", where)))
        del values[channel]
    row["checkpoint"] = checkpoint | {"channel_values": values}
    return moved


def _store_moved(connection: Connection, rows: Sequence[Row], ring: Keyring) -> None:
    # A value that has not changed stands in several checkpoints, under one version.
    moved = {
        (row["thread_id"], row["checkpoint_ns"], *each[:2]): each[2:] for row in rows for each in row[MOVED]
    }
    if moved:
        names = ("threads", "namespaces", "channels", "versions", "types", "blobs")
        columns = zip(*((*where, *value) for where, value in moved.items()), strict=True)
        connection.execute(query("rotation_move"), dict(zip(names, map(list, columns), strict=True)))


_THREAD: Final = {"thread_id": "text", "checkpoint_ns": "text"}
_TYPED: Final = {"type": "text", "blob": "bytea"}

TABLES: Final = (
    Table(
        name="checkpoint_blobs",
        key={**_THREAD, "channel": "text", "version": "text"},
        parts=_TYPED,
        size="blob",
        change=_blob,
    ),
    Table(
        name="checkpoint_writes",
        key={**_THREAD, "checkpoint_id": "text", "task_id": "text", "idx": "int"},
        parts=_TYPED,
        also=("channel",),
        size="blob",
        change=_write,
    ),
    Table(
        name="checkpoints",
        key={**_THREAD, "checkpoint_id": "text"},
        parts={"checkpoint": "jsonb", "metadata": "jsonb"},
        also=("stored",),
        size="checkpoint",
        change=_checkpoint,
        before=_store_moved,
    ),
    Table(
        name="holdfast_run",
        key={"id": "uuid"},
        parts={
            **{f"{name}_type": "text" for name in ("input", "context", "result", "answers")},
            **dict.fromkeys(("input", "context", "result", "answers"), "bytea"),
            **dict.fromkeys(("config", "error", "questions"), "jsonb"),
        },
        size="input",
        change=_run,
    ),
    Table(
        name="holdfast_effect",
        key={"key": "text"},
        parts={"result_type": "text", "result": "bytea", "error": "text"},
        size="result",
        change=_effect,
    ),
    Table(
        name="holdfast_node_cache",
        key={"id": "bigint"},
        parts={"type": "text", "value": "bytea"},
        also=("version", "namespace", "key"),
        size="value",
        change=_cached,
    ),
    Table(
        name="store",
        key={"prefix": "text", "key": "text"},
        parts={"value": "jsonb"},
        size="value",
        change=_item,
    ),
)
