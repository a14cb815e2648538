"""What of a checkpoint's metadata is encrypted, where anything is.

``READABLE`` stays as it is, and whatever begins with ``holdfast_``: retention, rollback and people look for
it. All the rest, which is what callers and graphs put there, is sealed into one entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from langgraph.checkpoint.base import CheckpointMetadata
from langgraph.checkpoint.serde.base import SerializerProtocol

from holdfast.errors import InvalidInputError
from holdfast.persistence.codec.strict import Codec
from holdfast.persistence.encryption import Binding
from holdfast.persistence.encryption.inline import SEALED, open_rest, seal_rest

READABLE: Final = (
    *("run_id", "source", "step", "parents"),
    # By these LangGraph and retention know from which checkpoints a DeltaChannel is rebuilt (P10).
    *("counters_since_delta_snapshot", "delta_writes_versioned"),
)


def encrypts(serde: SerializerProtocol) -> bool:
    """Whether nothing that the serializer could encode may stand in the clear."""
    return isinstance(serde, Codec) and serde.encrypts


def sealed_metadata(
    serde: SerializerProtocol, metadata: Mapping[str, Any], binding: Binding
) -> Mapping[str, Any]:
    """The metadata to store. Raises NotSerializableError."""
    if not (isinstance(serde, Codec) and serde.encrypts):
        return metadata
    return seal_rest(metadata, is_readable, binding, serde.ring)


def opened_metadata(
    serde: SerializerProtocol, metadata: CheckpointMetadata, binding: Binding
) -> CheckpointMetadata:
    """The metadata that was given to ``sealed_metadata``. Raises DecryptionError."""
    if SEALED not in metadata or not isinstance(serde, Codec):
        return metadata
    return cast(CheckpointMetadata, open_rest(cast(dict[str, Any], metadata), binding, serde.ring))


def check_filter(serde: SerializerProtocol, filter: Mapping[str, Any] | None) -> None:
    """Refuse to look for what is encrypted, which would find nothing. Raises InvalidInputError."""
    if not encrypts(serde):
        return
    for name in filter or ():
        if not is_readable(name):
            raise InvalidInputError(
                f'Checkpoints cannot be filtered by {name!r}: HOLDFAST["ENCRYPTION"] encrypts their metadata, except '
                f"{', '.join(READABLE)} and what begins with holdfast_.",
                field="filter",
            )


def is_readable(name: str) -> bool:
    """Whether an entry of that name stays as it is."""
    return name in READABLE or name.startswith("holdfast_")
