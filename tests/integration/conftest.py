"""Fixtures that several modules use. What each test leaves behind is nothing: no pool of Holdfast's stays open."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from holdfast.persistence import retention
from holdfast.persistence.connections import close_pools, connect
from tests.integration.shell import Shell


@pytest.fixture(autouse=True)
def _no_pool_stays_open() -> Iterator[None]:
    yield
    close_pools()


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return Shell(capsys)


@pytest.fixture
def at_hours(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock that retention's own connections see, by hours."""

    def move(hours: float) -> None:
        def moved(alias: str, **kw: Any) -> Any:
            connection = connect(alias, **kw)
            connection.execute("SELECT set_config('holdfast.clock_offset', %s, false)", [f"{hours} hours"])
            return connection

        monkeypatch.setattr(retention, "connect", moved)

    move(2)
    return move


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a bare machine: nothing set, a home of its own."""
    dropped = ("DATABASE_URL", "SECRET_KEY", "DJANGO_SETTINGS_MODULE", "BROKER_URL")
    kept = {
        key: value for key, value in os.environ.items() if key not in dropped and not key.startswith("PG")
    }
    return {**kept, "HOLDFAST_HOME": str(tmp_path / "home"), "COLUMNS": "160"}


@pytest.fixture
def stray_alias(settings: Any) -> Iterator[str]:
    """A database that nobody answers for, and a lease that a test can wait for."""
    settings.HOLDFAST = {"LEASE": 2.0, "IDLE_IN_TRANSACTION": 1.0}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        connections.databases["nowhere"] = connections.databases["default"] | {
            "HOST": "127.0.0.1",
            "PORT": str(taken.getsockname()[1]),
        }
        yield "nowhere"
        del connections.databases["nowhere"]
