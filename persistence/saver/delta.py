"""Turns the rows of saver_delta_history into what LangGraph rebuilds DeltaChannels from; touches no database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langgraph.checkpoint.base import DeltaChannelHistory, writes_sort_key
from langgraph.checkpoint.serde.base import SerializerProtocol

from holdfast.persistence.encryption import bindings
from holdfast.persistence.saver.decoding import Row, load


def histories(
    serde: SerializerProtocol, checkpoint_ns: str, channels: Iterable[str], rows: Sequence[Row]
) -> Mapping[str, DeltaChannelHistory]:
    """For each channel the writes of the checkpoint's ancestors, oldest first, and the value before them.

    Without ``seed`` nothing was stored before: the channel began empty. Raises TypeNotAllowedError,
    DecryptionError.
    """
    found: dict[str, DeltaChannelHistory] = {channel: {"writes": []} for channel in channels}
    # Oldest ancestor first; within one, as the run applied them.
    for channel, tag, blob, inline, source, task_id, *_ in sorted(rows, key=_age):
        if task_id is None:
            # A snapshot stands in the blobs, and its inline value is only a mark.
            where = bindings.channel(checkpoint_ns, channel, source)
            found[channel]["seed"] = (
                json.loads(inline or "null") if tag is None else load(serde, tag, blob, where)
            )
        else:
            where = bindings.write(checkpoint_ns, source, task_id, channel)
            found[channel]["writes"].append((task_id, channel, load(serde, tag, blob, where)))
    return found


def _age(row: Row) -> tuple[Any, ...]:
    *_, task_id, task_path, index, depth = row
    return (-depth, *writes_sort_key(task_path or "", task_id or "", index or 0))
