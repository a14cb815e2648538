"""``mongodb://host/database``: langgraph-checkpoint-mongodb and langgraph-store-mongodb."""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.mongodb import MongoDBSaver
from langgraph.store.mongodb import MongoDBStore
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure

from holdfast.persistence.backends.opening import Opened

DATABASE = "holdfast"
"""The database where the address names none."""


def is_passing(error: BaseException) -> bool:
    """The connection's or the server's: AutoReconnect and the timeouts are ConnectionFailures too."""
    return isinstance(error, ConnectionFailure)


def open_checkpointer(address: str) -> Opened:
    client, database = _connect(address)
    saver = MongoDBSaver(client, db_name=database.name)
    return Opened(
        value=saver,
        close=client.close,
        is_passing=is_passing,
        ordered=True,
        threads=lambda: saver.checkpoint_collection.distinct("thread_id"),
    )


def open_store(address: str) -> Opened:
    client, database = _connect(address)
    store = MongoDBStore(collection=database["store"])
    return Opened(value=store, close=client.close, is_passing=is_passing)


def _connect(address: str) -> tuple[Any, Any]:
    client: Any = MongoClient(address, serverSelectionTimeoutMS=5000, tz_aware=True)
    return client, client.get_default_database(DATABASE)
