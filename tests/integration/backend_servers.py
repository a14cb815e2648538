"""The backends that the contract's tests run on: those of this machine always, others where their server is."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections

from holdfast.persistence.backends import close_backends

NAMES = ("django", "memory", "sqlite", "postgresql", "custom", "redis", "mongodb")
ELSEWHERE = tuple(name for name in NAMES if name != "django")
"""Those whose writes ask the lease first."""


@pytest.fixture
def address(request: pytest.FixtureRequest, tmp_path: Path, settings: Any) -> Iterator[str]:
    """The parameter's backend, empty, as CHECKPOINTER and STORE; and as CACHE, where LangGraph has one there."""
    found = {
        "django": lambda: "django",
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path}/holdfast.db",
        "postgresql": lambda: _database(request),
        "custom": lambda: "tests.integration.backend_servers:own_saver",
        **SERVERS,
    }[request.param]()
    settings.HOLDFAST = {
        **settings.HOLDFAST,
        "CHECKPOINTER": found,
        "STORE": "tests.integration.backend_servers:own_store" if request.param == "custom" else found,
        "CACHE": found if request.param in {"django", "memory", "sqlite", "redis"} else "django",
    }
    yield found
    close_backends()


def own_saver() -> Any:
    """A saver as a project may have one, with all that Holdfast makes use of."""
    from langgraph.checkpoint.memory import InMemorySaver

    from holdfast.persistence.backends import memory

    class Saver(InMemorySaver):
        def delete_checkpoints(self, thread_id: str, checkpoints: Any) -> None:
            memory.delete(self, thread_id, checkpoints)

    return Saver()


def lesser_saver() -> Any:
    """One that cannot delete single checkpoints."""
    from langgraph.checkpoint.memory import InMemorySaver

    return InMemorySaver()


def own_store() -> Any:
    """The same of a store."""
    from langgraph.store.memory import InMemoryStore

    return InMemoryStore()


def on(*names: str) -> pytest.MarkDecorator:
    """Runs a test on each of the backends."""
    return pytest.mark.parametrize("address", names, indirect=True)


def _redis() -> str:
    """The server of REDIS_STACK_URL without anything of a saver's or a store's: their keys have no name of the test's."""
    address = _server("REDIS_STACK_URL")
    import redis

    client: Any = redis.Redis.from_url(address)
    for pattern in ("checkpoint*", "write_keys_zset:*", "store:*", "store_vectors:*"):
        for key in client.scan_iter(pattern, count=1000):
            client.delete(key)
    client.close()
    return address


def _server(variable: str) -> str:
    if url := os.environ.get(variable):
        return url
    pytest.skip(f"{variable} names no server")  # docker-compose.yml has one in a profile


def _mongodb() -> str:
    """A database of its own on the server of MONGODB_URL."""
    return f"{_server('MONGODB_URL').rstrip('/')}/holdfast_{uuid.uuid4().hex[:8]}"


SERVERS: dict[str, Callable[[], str]] = {"redis": _redis, "mongodb": _mongodb}
"""Those that need one of their own, and how it is asked for an empty place."""


def _database(request: pytest.FixtureRequest) -> str:
    """A database of its own beside the tests', on the same server."""
    name = f"holdfast_backend_{uuid.uuid4().hex[:8]}"
    place: dict[str, Any] = connections["default"].settings_dict
    server = {
        "host": place["HOST"],
        "port": place["PORT"] or 5432,
        "user": place["USER"],
        "password": place["PASSWORD"],
    }
    admin = psycopg.connect(dbname="postgres", autocommit=True, **server)
    admin.execute(f'CREATE DATABASE "{name}"')

    def drop() -> None:
        close_backends()
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        admin.close()

    request.addfinalizer(drop)
    return f"postgresql://{server['user']}:{server['password']}@{server['host']}:{server['port']}/{name}".replace(
        ":@", "@"
    )
