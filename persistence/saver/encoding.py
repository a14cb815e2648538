"""Turns checkpoints and writes into the parameters of the saver's statements; touches no database.

Stored form, as upstream's: a plain ``str``, ``int``, ``float``, ``bool`` or None of a channel stands
in the checkpoint's JSON, any other value in checkpoint_blobs under its channel's version. A plain
value that JSON or jsonb cannot hold exactly (NaN, infinity, -0.0, a float that jsonb shows as an integer, a NUL
or a lone surrogate in a text) goes to the blobs too, where both savers find it. Encrypted, every value goes to the blobs.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import ERROR, _DeltaSnapshot

from holdfast.errors import NotSerializableError
from holdfast.persistence import arrays
from holdfast.persistence.codec.strict import Codec
from holdfast.persistence.encryption import Binding, bindings
from holdfast.persistence.ids import thread_id_text
from holdfast.persistence.jsonb import is_storable
from holdfast.persistence.saver.metadata import encrypts, sealed_metadata

Params = dict[str, Any]
Key = tuple[str, str, str]  # thread, namespace, checkpoint
WriteRow = tuple[int, str, str, bytes]  # index, channel, type, blob


def _running() -> Future[None]:
    """A future that nobody cancels: an asyncio task that gives up waiting for it would, otherwise."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass(slots=True, eq=False)
class Batch:
    """The writes of one task as they are stored."""

    task_id: str
    task_path: str
    rows: list[WriteRow]
    stored: Future[None] = field(default_factory=_running)
    """Done when the statement that took the batch has been committed, or with its error."""
    awaited: asyncio.Future[None] | None = None
    """The same for the tasks of one event loop, where one of them waits for it."""


def dump(serde: SerializerProtocol, value: Any, field: str, binding: Binding) -> tuple[str, bytes]:
    """Type tag and bytes of one value with that binding. Raises NotSerializableError, which names the field."""
    if isinstance(serde, Codec):
        return serde.dump_field(value, field=field, binding=binding)
    return serde.dumps_typed(value)


def checkpoint_params(
    serde: SerializerProtocol,
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    new_versions: ChannelVersions,
    weighed: Callable[[Params, Iterable[tuple[str, int]]], None],
) -> Params:
    """Parameters of saver_put; ``weighed`` is told each channel's bytes. Raises NotSerializableError."""
    configurable = config["configurable"]
    namespace = configurable.get("checkpoint_ns", "")
    encrypted = encrypts(serde)
    inline: dict[str, Any] = {}
    channels: list[str] = []
    versions: list[str] = []
    types: list[str] = []
    blobs: list[bytes] = []
    for channel, value in checkpoint["channel_values"].items():
        version = new_versions.get(channel)
        if _is_inline(value):
            if not encrypted:
                inline[channel] = value
                continue
            # If it has not changed, it may stand in the JSON of a checkpoint from before there was a key only.
            version = version or checkpoint["channel_versions"].get(channel)
        if isinstance(value, _DeltaSnapshot):
            inline[channel] = True  # upstream's mark that a snapshot stands in the blobs
        if version is not None:
            where = bindings.channel(namespace, channel, version)
            tag, data = dump(serde, value, f"state[{channel!r}]", where)
            channels.append(channel)
            versions.append(str(version))
            types.append(tag)
            blobs.append(data)
    described = sealed_metadata(
        serde,
        get_serializable_checkpoint_metadata(config, metadata),
        bindings.checkpoint(namespace, checkpoint["id"]),
    )
    params = {
        "thread_id": thread_id_text(configurable.get("thread_id")),
        "checkpoint_ns": namespace,
        "checkpoint_id": checkpoint["id"],
        "parent_id": configurable.get("checkpoint_id"),
        "checkpoint": json_text({**checkpoint, "channel_values": inline}, "checkpoint"),
        "metadata": json_text(described, "metadata"),
        "channels": arrays.texts(channels),
        "versions": arrays.texts(versions),
        "types": arrays.texts(types),
        "blobs": arrays.blobs(blobs),
    }
    weighed(params, zip(channels, map(len, blobs), strict=True))
    return params


def write_rows(
    serde: SerializerProtocol, key: Key, task_id: str, writes: Sequence[tuple[str, Any]]
) -> tuple[list[WriteRow], bool]:
    """The rows of a task's writes, and whether they replace earlier ones. Raises NotSerializableError.

    Errors, interrupts and resumes have a place of their own each, where a later one replaces the
    earlier; of other writes the first stays, as it has been seen.
    """
    replace = replaces(writes)
    rows: dict[int, WriteRow] = {}
    for place, (channel, value) in enumerate(writes):
        index = WRITES_IDX_MAP.get(channel, place)
        if channel == ERROR and isinstance(value, BaseException):
            # LangGraph's serializer stores the repr of an exception, unless it takes the exception
            # for a model; a failure must be storable in any case.
            value = repr(value)
        if replace or index not in rows:
            where = bindings.write(key[1], key[2], task_id, channel)
            rows[index] = (index, channel, *dump(serde, value, f"write to {channel!r}", where))
    return list(rows.values()), replace


def replaces(writes: Sequence[tuple[str, Any]]) -> bool:
    """Whether these writes take the place of earlier ones: errors, interrupts, resumes and nothing else."""
    return all(channel in WRITES_IDX_MAP for channel, _ in writes)


def key_of(config: RunnableConfig) -> Key:
    """The checkpoint that the config names, as writes are held for it."""
    configurable = config["configurable"]
    return (
        thread_id_text(configurable.get("thread_id")),
        configurable.get("checkpoint_ns", ""),
        configurable["checkpoint_id"],
    )


def key_params(key: Key) -> Params:
    """Parameters that name the checkpoint which writes belong to."""
    return {"thread_id": key[0], "checkpoint_ns": key[1], "checkpoint_id": key[2]}


def writes_params(batches: Sequence[Batch]) -> Params:
    """The w_* parameters of the statements that store writes: those of several tasks at one checkpoint."""
    # A task may have written twice; of two rows in one place the first stays, as over two statements.
    taken: dict[tuple[str, int], tuple[Batch, WriteRow]] = {}
    for batch in batches:
        for row in batch.rows:
            taken.setdefault((batch.task_id, row[0]), (batch, row))
    rows = list(taken.values())
    return {
        "w_tasks": arrays.texts([batch.task_id for batch, _ in rows]),
        "w_paths": arrays.texts([batch.task_path for batch, _ in rows]),
        "w_indexes": arrays.ints([row[0] for _, row in rows]),
        "w_channels": arrays.texts([row[1] for _, row in rows]),
        "w_types": arrays.texts([row[2] for _, row in rows]),
        "w_blobs": arrays.blobs([row[3] for _, row in rows]),
    }


def json_text(value: Any, field: str) -> str:
    """The value as JSON for a jsonb parameter. Raises NotSerializableError."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise NotSerializableError(
            f"{field}: only plain JSON can be stored here: {error}.",
            field=field,
            path=field,
            type=type(value).__name__,
        ) from None


def _is_inline(value: Any) -> bool:
    if value is None or value is True or value is False:
        return True
    if isinstance(value, Enum):
        return False  # keeps its type in the blobs; in JSON only its value would be left
    if isinstance(value, str):
        return "\x00" not in value and (value.isascii() or is_storable(value))
    if isinstance(value, float):
        # From 1e16 on, Python writes an exponent and no point, and jsonb all digits and no point: an int comes back.
        return abs(value) < 1e16 and (value != 0 or math.copysign(1, value) > 0)
    return isinstance(value, int)
