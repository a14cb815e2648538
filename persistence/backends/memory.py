"""``memory://``: everything in this process, gone with it. For tests and trials, with one process only."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from holdfast.persistence.backends.opening import Opened, never
from holdfast.persistence.codec import codec
from holdfast.persistence.saver.thinning import CheckpointKey

is_passing = never


def open_checkpointer(address: str) -> Opened:
    saver = InMemorySaver()
    return Opened(value=saver, threads=lambda: list(saver.storage), delete=partial(delete, saver))


def delete(saver: InMemorySaver, thread_id: str, keys: Collection[CheckpointKey]) -> None:
    """Delete these checkpoints with their writes, and the values that only they refer to."""
    spaces = saver.storage[thread_id]
    freed: set[tuple[str, str, object]] = set()
    for namespace, checkpoint_id in keys:
        stored = spaces[namespace].pop(checkpoint_id, None)
        saver.writes.pop((thread_id, namespace, checkpoint_id), None)
        freed |= set() if stored is None else _versions(namespace, stored[0])
    # What a checkpoint that is on its way brings along is not among them.
    for namespace in {namespace for namespace, _ in keys}:
        for stored in list(spaces[namespace].values()):
            freed -= _versions(namespace, stored[0])
    for version in freed:
        saver.blobs.pop((thread_id, *version), None)  # type: ignore[arg-type]  # versions are texts or numbers


def _versions(namespace: str, typed: tuple[str, bytes]) -> set[tuple[str, str, object]]:
    versions = codec().loads_typed(typed)["channel_versions"]
    return {(namespace, channel, version) for channel, version in versions.items()}


def open_store(address: str) -> Opened:
    return Opened(value=InMemoryStore())


def open_cache(address: str) -> Opened:
    return Opened(value=InMemoryCache[object]())
