"""What the tests of a run's stations share: bells that are written down, and runs that go as far as they go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import psycopg
import pytest
from django.db import connection, connections, transaction

import holdfast
from holdfast.persistence.connections import conninfo
from holdfast.persistence.models import RunRow, Thread
from holdfast.persistence.records import Bell, Run
from holdfast.runner import dispatch
from holdfast.testing import run_now
from tests.acceptance.journal.pages import page
from tests.integration.claims import wait_until_blocked

T = TypeVar("T")

Committing = Callable[..., AbstractContextManager[list[Any]]]
"""pytest-django's django_capture_on_commit_callbacks."""


@pytest.fixture
def bells(monkeypatch: pytest.MonkeyPatch) -> list[Bell]:
    """What would have been sent to the broker, in order; nothing is."""
    rung: list[Bell] = []

    def write_down(bells: Iterable[Bell]) -> int:
        rung.extend(bells)
        return len(rung)

    monkeypatch.setattr(dispatch, "ring_all", write_down)
    return rung


def written(name: str, steps: int = 2, *, thread: str | None = None, **more: Any) -> Run:
    """A run of the journal that went as far as it goes."""
    return run_now(holdfast.enqueue("journal", page(name, steps, **more), thread_id=thread).id)


def notes_of(thread_id: str) -> list[str]:
    """All that runs have appended to the thread."""
    found: list[str] = holdfast.state(thread_id).values["notes"]
    return found


def nothing_written() -> bool:
    """Whether neither a run nor a thread is there."""
    return not RunRow.objects.exists() and not Thread.objects.exists()


def while_open(
    first: Callable[[], Any], second: Callable[[], T], *, meanwhile: Callable[[], Any] = lambda: None
) -> T:
    """What ``second`` returns or raises, that waits in a session of its own until ``first`` has committed.

    Once it waits, and before the commit, the first session does what ``meanwhile`` says.
    """
    pids: list[int] = []
    known = threading.Event()

    def there() -> T:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                pids.append(cursor.fetchone()[0])
            known.set()
            return second()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool, psycopg.connect(**conninfo("default"), autocommit=True) as observer:
        with transaction.atomic():
            first()
            waiting = pool.submit(there)
            assert known.wait(10)
            wait_until_blocked(observer, pids[0])
            meanwhile()
        return waiting.result(30)
