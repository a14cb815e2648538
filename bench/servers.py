"""The servers that a benchmark runs on: PostgreSQL with databases of its own, and Redis if it answers."""

from __future__ import annotations

import os
from typing import Any

import psycopg
from psycopg import sql

from tests.database import choose


class Postgres:
    """The server of the environment, or the embedded one; and the databases made on it."""

    def __init__(self) -> None:
        self._entry = choose()
        self._made: list[str] = []

    @property
    def version(self) -> str:
        """For the table's heading."""
        with self._connect() as connection:
            row = connection.execute("SHOW server_version").fetchone()
        return str(row[0]).split()[0] if row else "?"

    def create(self, purpose: str, template: str | None = None) -> dict[str, Any]:
        """A new database; its entry of DATABASES. ``template``: the name of one that nobody uses."""
        name = f"hf_bench_{os.getpid()}_{purpose}"
        with self._connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template or "template1")
                )
            )
        self._made.append(name)
        return {**self._entry, "NAME": name}

    def drop_all(self) -> None:
        """Remove what was made, whoever is connected."""
        with self._connect() as connection:
            while self._made:
                name = sql.Identifier(self._made.pop())
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def _connect(self) -> psycopg.Connection[Any]:
        entry = self._entry
        return psycopg.connect(
            host=entry.get("HOST") or None,
            port=entry.get("PORT") or None,
            user=entry.get("USER") or None,
            password=entry.get("PASSWORD") or None,
            dbname="postgres",
            autocommit=True,
        )


class Redis:
    """Keys under a prefix of this process's own, on the server of REDIS_URL."""

    def __init__(self) -> None:
        self.url = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
        self.prefix = f"holdfast-bench-{os.getpid()}-"

    def answers(self) -> bool:
        """Whether there is a server, and its Python client."""
        try:
            import redis

            with redis.Redis.from_url(self.url, socket_connect_timeout=1) as client:
                return bool(client.ping())
        except ImportError:
            return False
        except redis.RedisError:
            return False

    def clear(self) -> None:
        """Delete our keys."""
        import redis

        with redis.Redis.from_url(self.url) as client:
            for key in client.scan_iter(match=f"{self.prefix}*", count=1000):
                client.delete(key)
