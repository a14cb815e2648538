"""Runs as a claim leaves them, and the small chain graph, for the tests of the saver and its fence."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import psycopg
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.graph import START, StateGraph

from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import ThreadId, new_run_id, new_token
from holdfast.persistence.models import RunRow, Thread


def claim(thread_id: str | None = None, *, status: str = "running") -> Fence:
    """A run on its own thread, claimed by the fence that is returned."""
    from django.db import connection

    run_id, token = new_run_id(), new_token()
    thread = ThreadId(thread_id or f"thread-{uuid4()}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT holdfast_now()")
        (now,) = cursor.fetchone()
    Thread.objects.get_or_create(id=thread, defaults={"created_at": now})
    RunRow.objects.create(
        id=run_id,
        thread_id=thread,
        graph="chain",
        version="1",
        status=status,
        input_type="null",
        request_hash="",
        not_before=now,
        created_at=now,
        holds_thread=status in {"running", "interrupted"},
        token=token,
        renewed_at=now,
    )
    return Fence(run_id, token, thread)


def a_checkpoint(saver: Any, **values: Any) -> tuple[Checkpoint, dict[str, Any]]:
    """A checkpoint of today's format that holds these values, and their versions."""
    checkpoint = empty_checkpoint()
    checkpoint["v"] = 4
    checkpoint["channel_values"] = values
    versions = {name: saver.get_next_version(None, None) for name in values}
    checkpoint["channel_versions"] = dict(versions)
    return checkpoint, versions


def config_for(thread_id: str, **more: Any) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", **more}}


class State(TypedDict):
    items: Annotated[list[str], operator.add]
    count: int


def chain(steps: int, hook: Callable[[int], None] = lambda step: None) -> StateGraph[State]:
    """A graph of ``steps`` nodes in a row, each of which appends its name."""
    builder = StateGraph(State)
    before = START
    for step in range(steps):

        def node(state: State, step: int = step) -> dict[str, Any]:
            hook(step)
            return {"items": [f"n{step}"], "count": state.get("count", 0) + 1}

        builder.add_node(f"n{step}", node)
        builder.add_edge(before, f"n{step}")
        before = f"n{step}"
    return builder


def wait_until_blocked(observer: psycopg.Connection[Any], pid: int, seconds: float = 10) -> None:
    """Return once the backend waits for a lock of another. Raises AssertionError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        row = observer.execute("SELECT cardinality(pg_blocking_pids(%s)), pg_sleep(0.01)", [pid]).fetchone()
        if row and row[0]:
            return
    raise AssertionError(f"backend {pid} waits for nobody")
