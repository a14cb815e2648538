"""What the tests of a run's stations share: bells that are written down, and runs that go as far as they go."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import pytest

import holdfast
from holdfast.persistence.models import RunRow, Thread
from holdfast.persistence.records import Bell, Run
from holdfast.runner import dispatch
from holdfast.testing import run_now
from tests.acceptance.journal.pages import page

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
