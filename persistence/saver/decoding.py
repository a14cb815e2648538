"""Turns rows of saver_get, saver_list and saver_rows into checkpoint tuples; touches no database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple, PendingWrite, writes_sort_key
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import TASKS

from holdfast.persistence.codec.strict import Codec
from holdfast.persistence.encryption import Binding, bindings
from holdfast.persistence.saver.metadata import opened_metadata
from holdfast.persistence.saver.versions import next_version

Row = Sequence[Any]


def config_of(thread_id: str, checkpoint_ns: str, checkpoint_id: str) -> RunnableConfig:
    """The config that names one checkpoint."""
    return {
        "configurable": {
            "thread_id": thread_id,
            "checkpoint_ns": checkpoint_ns,
            "checkpoint_id": checkpoint_id,
        }
    }


def load(serde: SerializerProtocol, tag: str, data: bytes, binding: Binding = ()) -> Any:
    """The value that was stored with that binding. Raises TypeNotAllowedError, DecryptionError."""
    if isinstance(serde, Codec):
        return serde.loads_typed((tag, data), binding)
    return serde.loads_typed((tag, data))


def tuple_of(serde: SerializerProtocol, row: Row) -> CheckpointTuple:
    """The checkpoint of the row.

    Raises TypeNotAllowedError for a stored type that is not on the allow list, DecryptionError.
    """
    thread_id, checkpoint_ns, checkpoint_id, parent_id, body, metadata, *arrays = row
    checkpoint = json.loads(body)
    channels, types, blobs, sent_types, sent_blobs, *writes = (column or () for column in arrays)
    values = checkpoint.get("channel_values") or {}
    for channel, tag, blob in zip(channels, types, blobs, strict=True):
        if tag != "empty":
            where = bindings.channel(checkpoint_ns, channel, checkpoint["channel_versions"][channel])
            values[channel] = load(serde, tag, blob, where)
    if sent_types:  # before format 4, what a checkpoint sent stood with its parent's writes
        values[TASKS] = [serde.loads_typed(send) for send in zip(sent_types, sent_blobs, strict=True)]
        versions = checkpoint["channel_versions"]
        versions[TASKS] = max(versions.values()) if versions else next_version(None)
    checkpoint["channel_values"] = values
    return CheckpointTuple(
        config_of(thread_id, checkpoint_ns, checkpoint_id),
        checkpoint,
        opened_metadata(serde, json.loads(metadata), bindings.checkpoint(checkpoint_ns, checkpoint_id)),
        config_of(thread_id, checkpoint_ns, parent_id) if parent_id else None,
        _writes(serde, checkpoint_ns, checkpoint_id, writes),
    )


def _writes(
    serde: SerializerProtocol, checkpoint_ns: str, checkpoint_id: str, columns: Sequence[Sequence[Any]]
) -> list[PendingWrite]:
    ordered = sorted(
        zip(*columns, strict=True), key=lambda write: writes_sort_key(write[4], write[0], write[5])
    )
    return [
        (
            cast(str, task_id),
            cast(str, channel),
            load(serde, tag, blob, bindings.write(checkpoint_ns, checkpoint_id, task_id, channel)),
        )
        for task_id, channel, tag, blob, _, _ in ordered
    ]
