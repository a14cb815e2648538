"""Attempts at runs for the tests of effects, cache and retention: claimed, taken over, killed in-process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from holdfast.persistence import DjangoSaver
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import ThreadId, Token, new_run_id, new_token
from holdfast.persistence.models import Effect, Entry, RunRow, RunStatus, Thread
from holdfast.runner.runs import executors
from holdfast.runner.runs.attempt import Attempt, attempt_scope

executors.install()


class KilledError(BaseException):
    """Stands for the death of the process: no ``except Exception`` sees it."""


def claim(thread_id: str | None = None, **fields: Any) -> Attempt:
    """A running run with a fence, as the first claim leaves it."""
    thread, _ = Thread.objects.get_or_create(
        id=thread_id or f"thread-{uuid4()}", defaults={"created_at": timezone.now()}
    )
    now = timezone.now()
    run = RunRow.objects.create(
        **{
            "id": new_run_id(),
            "thread": thread,
            "graph": "g",
            "version": "1",
            "status": RunStatus.RUNNING,
            "input_type": "null",
            "request_hash": "",
            "not_before": now,
            "created_at": now,
            "holds_thread": True,
            "deliveries": 1,
            "token": new_token(),
            **fields,
        }
    )
    return _attempt(run)


def take_over(old: Attempt) -> Attempt:
    """The next attempt at the same run: the old one's fence holds nothing any more."""
    run = RunRow.objects.get(id=old.run_id)
    run.token = new_token()
    run.deliveries += 1
    run.save(update_fields=["token", "deliveries"])
    try:
        return _attempt(run)
    finally:
        if threading.current_thread() is not threading.main_thread():
            connection.close()


def _attempt(run: RunRow) -> Attempt:
    fence = Fence(
        run.id,
        Token(run.token),
        ThreadId(run.thread_id),
        entered=Entry.objects.filter(run_id=run.id).exists(),
    )
    return Attempt(
        run_id=run.id,
        thread_id=ThreadId(run.thread_id),
        delivery=run.deliveries,
        alias="default",
        owner="test",
        fence=fence,
    )


def config(attempt: Attempt) -> dict[str, Any]:
    return {"configurable": {"thread_id": attempt.thread_id}}


def execute(graph: Any, value: Any, attempt: Attempt, *, durability: Any = "sync", **attach: Any) -> Any:
    """Invoke the graph as the executor does: saver with the attempt's fence, sync durability."""
    attached = graph.copy({"checkpointer": DjangoSaver(fence=attempt.fence), **attach})
    with attempt_scope(attempt):
        return attached.invoke(value, config(attempt), durability=durability)


async def aexecute(graph: Any, value: Any, attempt: Attempt) -> Any:
    attached = graph.copy({"checkpointer": DjangoSaver(fence=attempt.fence)})
    with attempt_scope(attempt):
        return await attached.ainvoke(value, config(attempt), durability="sync")


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """The first passing of the named fault point ends the attempt there."""
    from holdfast.runner.effects import steps, transaction

    passed = []

    def point(reached: str) -> None:
        if reached == name and not passed:
            passed.append(reached)
            raise KilledError(name)

    with monkeypatch.context() as patch:
        patch.setattr(steps, "point", point)
        patch.setattr(transaction, "point", point)
        with pytest.raises(KilledError):
            yield
    assert passed == [name]


def ledger() -> list[tuple[str, str, int]]:
    return list(Effect.objects.order_by("begun_at").values_list("function", "state", "attempts"))
