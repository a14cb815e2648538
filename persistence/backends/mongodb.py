"""``mongodb://host/database``: langgraph-checkpoint-mongodb and langgraph-store-mongodb."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.mongodb import MongoDBSaver
from langgraph.store.base import SearchItem
from langgraph.store.mongodb import MongoDBStore
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure

from holdfast.conf import settings
from holdfast.persistence.backends.opening import Opened
from holdfast.persistence.saver.thinning import CheckpointKey

DATABASE = "holdfast"
"""The database where the address names none."""


def is_passing(error: BaseException) -> bool:
    """The connection's or the server's: AutoReconnect and the timeouts are ConnectionFailures too."""
    return isinstance(error, ConnectionFailure)


class _Saver(MongoDBSaver):
    """Thread-safe as the client is."""

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        # Its unique index knows no task_path: the answer to a question that came here without one (transfer) would
        # be refused as a second one. It orders by none either.
        if writes:
            super().put_writes(config, writes, task_id)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        # What it asks for is the filter's value as it would be stored, which with a key is another each time.
        found = super().list(config, before=before, limit=None if filter else limit)
        wanted = filter or {}
        matching = (each for each in found if all(each.metadata.get(name) == wanted[name] for name in wanted))
        yield from islice(matching, limit)

    def delete(self, thread_id: str, keys: Collection[CheckpointKey]) -> None:
        """Delete these checkpoints with their writes."""
        for namespace in {namespace for namespace, _ in keys}:
            ids = [checkpoint_id for there, checkpoint_id in keys if there == namespace]
            doomed = {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": {"$in": ids}}
            self.checkpoint_collection.delete_many(doomed)
            self.writes_collection.delete_many(doomed)


class _Store(MongoDBStore):
    """With pages; its own search and list of namespaces know no offset, and that counts items for namespaces."""

    supports_ttl = False
    """Of single items: it passes over what ``put`` says, and knows one time for all."""

    def search(
        self, namespace_prefix: tuple[str, ...], /, *, limit: int = 10, offset: int = 0, **more: Any
    ) -> list[SearchItem]:
        return super().search(namespace_prefix, limit=limit + offset, **more)[offset:]

    def list_namespaces(self, *, limit: int = 100, offset: int = 0, **more: Any) -> list[tuple[str, ...]]:
        return sorted(super().list_namespaces(limit=0, **more))[offset : offset + limit]


def open_checkpointer(address: str) -> Opened:
    client, database = _connect(address)
    saver = _Saver(client, db_name=database.name)
    return Opened(
        value=saver,
        close=client.close,
        is_passing=is_passing,
        ordered=True,
        threads=lambda: saver.checkpoint_collection.distinct("thread_id"),
        delete=saver.delete,
    )


def open_store(address: str) -> Opened:
    client, database = _connect(address)
    store = _Store(collection=database["store"], ttl_config=_ttl(settings().STORE_TTL))
    return Opened(value=store, close=client.close, is_passing=is_passing)


def _ttl(config: dict[str, Any] | None) -> Any:
    """In seconds, as upstream's index has it. Without one, a read is told to write no time of its own."""
    minutes = (config or {}).get("default_ttl")
    return {
        "default_ttl": None if minutes is None else int(minutes * 60),
        "refresh_on_read": minutes is not None and (config or {}).get("refresh_on_read", True),
    }


def _connect(address: str) -> tuple[Any, Any]:
    client: Any = MongoClient(address, serverSelectionTimeoutMS=5000, tz_aware=True)
    return client, client.get_default_database(DATABASE)
