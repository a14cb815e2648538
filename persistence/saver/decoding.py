"""Turns rows of saver_get and saver_list into checkpoint tuples; touches no database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple, PendingWrite, writes_sort_key
from langgraph.checkpoint.serde.base import SerializerProtocol

Row = Sequence[Any]

# Before this format, what a checkpoint sent stands with its parent's writes.
FIRST_FORMAT_WITH_SENDS = 4


def config_of(thread_id: str, checkpoint_ns: str, checkpoint_id: str) -> RunnableConfig:
    """The config that names one checkpoint."""
    return {
        "configurable": {
            "thread_id": thread_id,
            "checkpoint_ns": checkpoint_ns,
            "checkpoint_id": checkpoint_id,
        }
    }


def tuple_of(serde: SerializerProtocol, row: Row) -> CheckpointTuple | None:
    """The checkpoint of the row, or None where only upstream's own reader knows its old format.

    Raises TypeNotAllowedError for a stored type that is not on the allow list.
    """
    thread_id, checkpoint_ns, checkpoint_id, parent_id, body, metadata, *arrays = row
    checkpoint = json.loads(body)
    if checkpoint["v"] < FIRST_FORMAT_WITH_SENDS and parent_id:
        return None
    values = checkpoint.get("channel_values") or {}
    channels, types, blobs = (column or () for column in arrays[:3])
    for channel, tag, blob in zip(channels, types, blobs, strict=True):
        if tag != "empty":
            values[channel] = serde.loads_typed((tag, blob))
    checkpoint["channel_values"] = values
    return CheckpointTuple(
        config_of(thread_id, checkpoint_ns, checkpoint_id),
        checkpoint,
        json.loads(metadata),
        config_of(thread_id, checkpoint_ns, parent_id) if parent_id else None,
        _writes(serde, [column or () for column in arrays[3:]]),
    )


def _writes(serde: SerializerProtocol, columns: Sequence[Sequence[Any]]) -> list[PendingWrite]:
    ordered = sorted(
        zip(*columns, strict=True), key=lambda write: writes_sort_key(write[4], write[0], write[5])
    )
    return [
        (cast(str, task_id), cast(str, channel), serde.loads_typed((tag, blob)))
        for task_id, channel, tag, blob, _, _ in ordered
    ]
