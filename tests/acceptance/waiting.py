"""Waits for a condition, and says in full what was the case when it did not come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import Error, connections

from holdfast.conf import settings

T = TypeVar("T")

_RUNS = """
SELECT id, graph, thread_id, status, deliveries, crashes, owner, token, draining,
       round(extract(epoch FROM clock_timestamp() - renewed_at)::numeric, 2) AS renewed_s_ago,
       round(extract(epoch FROM clock_timestamp() - rung_at)::numeric, 2) AS rung_s_ago, rings,
       error ->> 'message' AS error, jsonb_array_length(questions) AS questions
FROM holdfast_run ORDER BY id DESC LIMIT 20
"""
_STEPS = "SELECT run_id, delivery, step, node, owner, outcome FROM holdfast_step ORDER BY id DESC LIMIT 20"


def until(condition: Callable[[], T], timeout: float, why: str, *, every: float = 0.02) -> T:
    """What ``condition`` returns once that is true; asked each ``every`` seconds.

    Raises AssertionError after ``timeout`` seconds, with ``why``, the last answer and the newest
    runs and steps in the database.
    """
    end = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(
                f"not within {timeout:g} s: {why}\nlast answer: {answer!r}\n{database_state()}"
            )
        time.sleep(every)  # what other processes do is seen in rows and files; no event tells of it


def database_state() -> str:
    """The newest 20 runs and steps as text; what went wrong, if they cannot be read."""
    return f"runs:\n{_table(_RUNS)}\nsteps:\n{_table(_STEPS)}"


def _table(query: str) -> str:
    try:
        with connections[settings().DATABASE].cursor() as cursor:
            cursor.execute(query)
            names = [column[0] for column in cursor.description or ()]
            return "\n".join(
                "  " + ", ".join(f"{n}={v}" for n, v in zip(names, row, strict=True) if v is not None)
                for row in cursor.fetchall()
            )
    except (Error, RuntimeError) as error:  # RuntimeError: pytest-django guards the database
        return f"  unreadable: {error}"
