"""``module:factory``: what a function of the project's returns; it is called once a process, without arguments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from langgraph.cache.base import BaseCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import BaseStore

from holdfast.errors import ConfigurationError
from holdfast.persistence.backends.opening import Opened
from holdfast.persistence.backends.usable import factory_of


def is_passing(error: BaseException) -> bool:
    """Python's own errors of connections. Others a backend turns into these, if they are to be repeated."""
    return isinstance(error, ConnectionError | TimeoutError)


def open_checkpointer(address: str) -> Opened:
    found = _open(address, BaseCheckpointSaver, needs=("put", "put_writes", "get_tuple", "list"))
    return replace(found, delete=getattr(found.value, "delete_checkpoints", None))


def open_store(address: str) -> Opened:
    return _open(address, BaseStore, needs=("batch",))


def open_cache(address: str) -> Opened:
    return _open(address, BaseCache, needs=("get", "set"))


def _open(address: str, kind: type[Any], *, needs: tuple[str, ...]) -> Opened:
    value = factory_of(address)()
    if not isinstance(value, kind):
        raise ConfigurationError(
            f"The backend {address!r} returned a {type(value).__qualname__}, not a {kind.__qualname__}.",
            setting=address,
        )
    for method in needs:
        if getattr(type(value), method) is getattr(kind, method):
            raise ConfigurationError(
                f"The backend {address!r} returned a {type(value).__qualname__} without {method}(): the "
                "synchronous methods are needed, of which async graphs are served on threads.",
                setting=address,
            )
    return Opened(value=value, close=getattr(value, "close", lambda: None), is_passing=is_passing)
