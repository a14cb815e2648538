"""Whether what was read back is what was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple

from holdfast.persistence.codec.strict import Codec


def differences(one: CheckpointTuple, other: CheckpointTuple, serde: Codec) -> list[str]:
    """The parts in which two checkpoints differ; empty if they are equal."""
    parts = {
        **{name: (value, other.checkpoint.get(name)) for name, value in one.checkpoint.items()},
        "metadata": (one.metadata, other.metadata),
        "parent": (parent_of(one), parent_of(other)),
        "pending writes": (_writes(one, serde), _writes(other, serde)),
    }
    return [name for name, (here, there) in parts.items() if not _equal(here, there, serde)]


def with_text_versions(found: CheckpointTuple) -> CheckpointTuple:
    """With channel versions as texts that sort as the numbers do, if they are numbers."""
    versions, seen = found.checkpoint["channel_versions"], found.checkpoint["versions_seen"]
    checkpoint: Any = {
        **found.checkpoint,
        "channel_versions": _texts(versions),
        "versions_seen": {node: _texts(each) for node, each in seen.items()},
    }
    return found._replace(checkpoint=checkpoint)


def _texts(versions: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: f"{version:032}.{0:016}" if isinstance(version, int) else version
        for name, version in versions.items()
    }


def parent_of(found: CheckpointTuple) -> str | None:
    """The id of the checkpoint's parent, whether that is there or not."""
    parent: str | None = (found.parent_config or {}).get("configurable", {}).get("checkpoint_id")
    return parent


def _writes(found: CheckpointTuple, serde: Codec) -> list[tuple[str, str, Any]]:
    """In an order of our own: backends give them in theirs, and LangGraph applies them in that of its tasks."""
    writes = found.pending_writes or ()
    return sorted(writes, key=lambda write: (write[0], write[1], serde.encode(write[2], field="write")))


def _equal(one: Any, other: Any, serde: Codec) -> bool:
    try:
        if one == other:
            return True
    except (TypeError, ValueError):  # e.g. an array, which has no one answer
        pass
    return serde.encode(one, field="value") == serde.encode(other, field="value")
