"""RedisSaver, where its own answers are not what LangGraph's other savers give (langgraph-checkpoint-redis 0.5.2).

Without this a checkpoint does not tell which run made it, which a fork finds its graph by, and a run whose process died
on its first one that it has entered (R5); a list gives other namespaces, too, and thread ids that only differ in case;
what is copied late, though it is old, counts as the newest; and of a long thread a part is not deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.redis import RedisSaver

from holdfast.persistence.saver.thinning import CheckpointKey

_ALL = "checkpoint_latest:*"
"""The keys that point at the newest checkpoint of each namespace."""


class Saver(RedisSaver):
    """Thread-safe as the client is."""

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        configurable = {"checkpoint_ns": "", **config["configurable"]}
        pointer = self._make_redis_checkpoint_latest_key(
            configurable["thread_id"], configurable["checkpoint_ns"]
        )
        before: Any = self._redis.get(pointer)
        stored = super().put(
            {"configurable": configurable},
            checkpoint,
            get_checkpoint_metadata(config, metadata),
            new_versions,
        )
        # The ids of one namespace's checkpoints are in the order of time, and end its keys.
        if before is not None and _text(before).rpartition(":")[2] > checkpoint["id"]:
            self._redis.set(pointer, before, keepttl=True)
        return stored

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        found = super().get_tuple(config)
        return None if found is None else _plain(found)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        wanted = (config or {}).get("configurable", {})
        asked: Any = {"configurable": {"thread_id": wanted["thread_id"]}} if "thread_id" in wanted else None
        end = get_checkpoint_id(before) if before is not None else None
        left = limit
        for found in super().list(asked):
            there = found.config["configurable"]
            if (
                (end is not None and there["checkpoint_id"] >= end)
                or any(
                    there[name] != value
                    for name, value in wanted.items()
                    if name in there and value is not None
                )
                or any(found.metadata.get(name) != value for name, value in (filter or {}).items())
            ):
                continue
            if left is not None:
                if left <= 0:
                    return
                left -= 1
            yield _plain(found)

    def delete_thread(self, thread_id: str) -> None:
        # A search finds 10,000 of them at most.
        while found := [*self.list({"configurable": {"thread_id": thread_id}})]:
            self.delete(thread_id, {(_namespace(each), each.checkpoint["id"]) for each in found})
            for namespace in {_namespace(each) for each in found}:
                self._redis.delete(self._make_redis_checkpoint_latest_key(thread_id, namespace))

    def delete(self, thread_id: str, keys: Collection[CheckpointKey]) -> None:
        """Delete these checkpoints with their writes; of each namespace the newest stays, unless all of it goes."""
        registry = self._key_registry
        for namespace, checkpoint_id in keys:
            stored = [self._make_redis_checkpoint_key(thread_id, namespace, checkpoint_id)]
            if registry is not None:
                stored += registry.get_write_keys(thread_id, namespace, checkpoint_id)
                stored.append(registry.make_write_keys_zset_key(thread_id, namespace, checkpoint_id))
            self._redis.delete(*stored)

    def threads(self) -> set[str]:
        """The threads that have checkpoints, from the keys: a search gives no more than 10,000."""
        found: set[str] = set()
        for pointer in self._redis.scan_iter(_ALL, count=1000):
            key: Any = self._redis.get(pointer)
            names: Any = None if key is None else self._redis.json().get(_text(key), "$.thread_id")
            found.update(names or ())
        return found


def _plain(found: CheckpointTuple) -> CheckpointTuple:
    """Without what Redis' saver adds to a checkpoint."""
    added = {"type"} if found.checkpoint.get("pending_sends") else {"type", "pending_sends"}
    checkpoint: Any = {name: value for name, value in found.checkpoint.items() if name not in added}
    return found._replace(checkpoint=checkpoint)


def _namespace(found: CheckpointTuple) -> str:
    namespace: str = found.config["configurable"]["checkpoint_ns"]
    return namespace


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
