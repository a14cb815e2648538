"""``memory://``: everything in this process, gone with it. For tests and trials, with one process only."""

from __future__ import annotations

from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from holdfast.persistence.backends.opening import Opened, never

is_passing = never


def open_checkpointer(address: str) -> Opened:
    saver = InMemorySaver()
    return Opened(value=saver, threads=lambda: list(saver.storage))


def open_store(address: str) -> Opened:
    return Opened(value=InMemoryStore())


def open_cache(address: str) -> Opened:
    return Opened(value=InMemoryCache[object]())
