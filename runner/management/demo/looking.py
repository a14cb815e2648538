"""What the demo looks at while a run goes on: draws it, and stops where the story has something to tell."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from holdfast.errors import HoldfastError, WaitTimeoutError
from holdfast.runner.management import display, run_page

if TYPE_CHECKING:
    from holdfast.persistence.records import Run, StepRecord

LOOK: Final = 0.2
"""Seconds between two looks at the run."""
LONGEST: Final = 120.0
"""Seconds that a run may take before the demo gives it up; a real model may need them."""

Until = Callable[["Run", Sequence["StepRecord"]], bool]


def follow(out: Console, run_id: Any, *, until: Until) -> Run:
    """Draw the run while it goes on. Raises HoldfastError when it ends too early, or takes too long."""
    from holdfast.runner import api

    give_up = time.monotonic() + LONGEST
    with display.passing(out) as live:
        while True:
            with suppress(WaitTimeoutError):
                api.wait(run_id, LOOK)
            found, steps = api.get(run_id), api.steps(run_id)
            live.update(run_page.run_view(found, steps, payload=False), refresh=True)
            if until(found, steps):
                return found
            if found.status.ended or time.monotonic() > give_up:
                raise HoldfastError(
                    f"The run {run_id} is {found.status} ({(found.error or {}).get('message', 'too slow')}); "
                    f"the workers' logs are in {os.environ['HOLDFAST_HOME']}.",
                    run_id=run_id,
                )


def first_step_after(out: Console, run_id: Any, delivery: int) -> StepRecord:
    """The first step of a later delivery, as soon as there is one."""
    found: list[StepRecord] = []

    def begun(_: Run, steps: Sequence[StepRecord]) -> bool:
        found[:] = [step for step in steps if step.delivery > delivery]
        return bool(found)

    follow(out, run_id, until=begun)
    return found[0]


def in_the_middle(summaries: int) -> Until:
    """Whether a third of the summaries is done."""

    def reached(_: Run, steps: Sequence[StepRecord]) -> bool:
        done = [step for step in steps if step.node == "summarise" and step.outcome == "done"]
        begun = any(step.node == "summarise" for step in steps)
        return len(done) >= summaries // 3 if summaries > 2 else begun

    return reached


def asks(run: Run, _: Sequence[StepRecord]) -> bool:
    """Whether the run waits for a person."""
    return str(run.status) == "interrupted"


def ended(run: Run, _: Sequence[StepRecord]) -> bool:
    """Whether the run has succeeded."""
    return str(run.status) == "succeeded"


def stored_summaries(run: Run) -> set[str]:
    """Tasks whose summaries are in the database: these must never run again."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT task_id FROM checkpoint_writes WHERE thread_id = %s AND channel = 'summaries'",
            [run.thread_id],
        )
        return {str(task_id) for (task_id,) in cursor.fetchall()}
