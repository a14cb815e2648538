"""For savers that take no serializer, as Redis': values are encoded before they see them, and decoded after.

So what is read is built from the allow list only (P12), as everywhere, whatever the saver itself would revive.
A value that somebody else wrote, with that saver alone, is given as the saver gives it.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from holdfast.persistence.codec.strict import Codec

_MARK: Final = "holdfast:"


class SealedSaver(BaseCheckpointSaver[Any]):
    """Another saver, to which every value is a text."""

    def __init__(self, inner: BaseCheckpointSaver[Any], serde: Codec) -> None:
        super().__init__(serde=serde)
        self._inner = inner
        self._codec = serde

    def get_next_version(self, current: Any, channel: None) -> Any:
        return self._inner.get_next_version(current, channel)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> SealedSaver:
        return SealedSaver(self._inner, self._codec.with_msgpack_allowlist(extra_allowlist))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        values = {
            channel: self._seal(value, channel) for channel, value in checkpoint["channel_values"].items()
        }
        sealed: Any = {**checkpoint, "channel_values": values}
        return self._inner.put(config, sealed, metadata, new_versions)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        sealed = [(channel, self._seal(value, channel)) for channel, value in writes]
        self._inner.put_writes(config, sealed, task_id, task_path)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        found = self._inner.get_tuple(config)
        return None if found is None else self._opened(found)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        for found in self._inner.list(config, filter=filter, before=before, limit=limit):
            yield self._opened(found)

    def delete_thread(self, thread_id: str) -> None:
        self._inner.delete_thread(thread_id)

    def _seal(self, value: Any, field: str) -> str:
        type_, data = self._codec.dump_field(value, field=field)
        return f"{_MARK}{type_}:{base64.b64encode(data).decode()}"

    def _unseal(self, value: Any) -> Any:
        if not isinstance(value, str) or not value.startswith(_MARK):
            return value
        type_, _, data = value.removeprefix(_MARK).rpartition(":")  # a tag may have one, too
        return self._codec.loads_typed((type_, base64.b64decode(data)))

    def _opened(self, found: CheckpointTuple) -> CheckpointTuple:
        values = {
            channel: self._unseal(value) for channel, value in found.checkpoint["channel_values"].items()
        }
        writes = [(task, channel, self._unseal(value)) for task, channel, value in found.pending_writes or ()]
        checkpoint: Any = {**found.checkpoint, "channel_values": values}
        return found._replace(checkpoint=checkpoint, pending_writes=writes)
