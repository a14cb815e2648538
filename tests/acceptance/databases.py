"""Databases of their own for tests with processes, cloned from one that was migrated once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psycopg
from django.db import connections
from psycopg import sql

from tests.emptying import empty

ROOT = Path(__file__).resolve().parents[2]
_numbers = count(1)


@dataclass(frozen=True, kw_only=True)
class Database:
    """Where a database is; what ``tests.settings`` and libpq call PGHOST and so on."""

    host: str = os.environ.get("PGHOST", "127.0.0.1")
    port: str = os.environ.get("PGPORT", "5432")
    user: str = os.environ.get("PGUSER", "postgres")
    password: str = os.environ.get("PGPASSWORD", "")
    name: str = "postgres"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that lead a process here."""
        return {
            "PGHOST": self.host,
            "PGPORT": self.port,
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.name,
        }

    def connect(self) -> psycopg.Connection:
        """A new autocommit connection, which is the caller's to close."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password or None,
            dbname=self.name,
            autocommit=True,
        )

    def create(self, name: str, *, template: Database | None = None) -> Database:
        """A new database on this server, as a copy of ``template`` (to which nobody may be connected)."""
        with self.connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template.name if template else "template1")
                )
            )
        return replace(self, name=name)

    def drop(self) -> None:
        """Remove it, whoever is connected."""
        with replace(self, name="postgres").connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name))
            )

    def empty(self) -> None:
        """Delete all rows but what migrating leaves behind."""
        with self.connect() as connection:
            empty(connection)

    def migrate(self, settings: str = "tests.acceptance.site.settings") -> None:
        """Run all migrations in a process of their own."""
        done = subprocess.run(
            [sys.executable, "-m", "django", "migrate", "--verbosity=0", f"--settings={settings}"],
            cwd=ROOT,
            env={**os.environ, **self.environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def new_name(purpose: str) -> str:
    """A database name that no other test process uses."""
    return f"hf_test_{os.getpid()}_{purpose}_{next(_numbers)}"


@contextmanager
def django_uses(database: Database, alias: str = "default") -> Iterator[None]:
    """Point this process's Django (and all Holdfast pools) at another database for a while."""
    wrapper = connections[alias]
    before = dict(wrapper.settings_dict)
    _let_go(alias)
    wrapper.settings_dict.update(
        HOST=database.host,
        PORT=database.port,
        USER=database.user,
        PASSWORD=database.password,
        NAME=database.name,
    )
    try:
        yield
    finally:
        _let_go(alias)
        wrapper.settings_dict.update(before)


def _let_go(alias: str) -> None:
    connections[alias].close()
    if find_spec("holdfast.persistence.connections"):
        from holdfast.persistence.connections import close_pools

        close_pools()
