"""``redis://…``: needs a server with RedisJSON and RediSearch (Redis 8, or Redis Stack); the cache any Redis."""

from __future__ import annotations

from typing import Any

from langgraph.cache.redis import RedisCache
from redis import Redis
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import TimeoutError as TimedOut

from holdfast.conf import settings
from holdfast.errors import ConfigurationError
from holdfast.persistence.backends.address import Kind, shown
from holdfast.persistence.backends.opening import Opened
from holdfast.persistence.backends.redis_saver import Saver
from holdfast.persistence.backends.redis_store import Store

_COMMANDS = {"JSON.SET": "RedisJSON", "FT.CREATE": "RediSearch"}


def is_passing(error: BaseException) -> bool:
    """The connection's or the server's; BusyLoadingError is a ConnectionError too."""
    return isinstance(error, Unreachable | TimedOut)


def open_checkpointer(address: str) -> Opened:
    client = _with_modules(address, "CHECKPOINTER")
    saver = Saver(redis_client=client, ttl=_ttl(settings().RETENTION.max_age))
    saver.setup()
    # Not ordered: its search knows no pages, since LangGraph's ids are no ULIDs.
    return Opened(
        value=saver,
        close=client.close,
        is_passing=is_passing,
        sealed=True,
        threads=saver.threads,
        delete=saver.delete,
    )


def open_store(address: str) -> Opened:
    client = _with_modules(address, "STORE")
    store = Store(client, ttl=settings().STORE_TTL)  # type: ignore[arg-type]  # a plain dict
    store.setup()
    return Opened(value=store, close=client.close, is_passing=is_passing)


def open_cache(address: str) -> Opened:
    client = Redis.from_url(address)
    return Opened(value=RedisCache[object](client), close=client.close, is_passing=is_passing)


def _with_modules(address: str, kind: Kind) -> Any:
    client: Any = Redis.from_url(address)
    # As one word: redis-py cannot read the answer to COMMAND where a command is unknown.
    known = client.execute_command("COMMAND INFO", *_COMMANDS)
    there = {command for command, entry in zip(_COMMANDS, known, strict=True) if entry}
    if lacking := [module for command, module in _COMMANDS.items() if command not in there]:
        client.close()
        raise ConfigurationError(
            f"{kind} is {shown(address)!r}, but that server has no {' and no '.join(lacking)}. "
            "LangGraph's checkpoints and store need Redis 8 or Redis Stack; any Redis will do for CACHE.",
            setting=kind,
        )
    return client


def _ttl(seconds: float | None) -> dict[str, Any] | None:
    """Upstream's form, in minutes. What is read lives on, so that a thread in use does not expire."""
    return None if seconds is None else {"default_ttl": seconds / 60, "refresh_on_read": True}
