"""Stays with a run: tells what was done to it, and draws its progress until it ends or asks."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import typer

from holdfast.errors import WaitTimeoutError

REFRESH = 0.25
"""Seconds between two looks at the timeline while watching."""
TIMED_OUT = 124
"""Exit code when the time is over and the run is not, as of coreutils' ``timeout``."""


def tell(run: Any, done: str, *, watching: bool = False, as_json: bool) -> None:
    """Say what was done to the run; with ``watching`` stay with it."""
    from holdfast.runner.management import display, facts

    if watching:
        follow_to_the_end(run.id, timeout=None, as_json=as_json)
    elif as_json:
        facts.dump(facts.run_facts(run))
    else:
        out = display.console()
        out.print(f"{run.id}", style="bold", end="  ", markup=False)
        out.print(f"{run.graph}, {done}", style="dim", markup=False)


def follow_to_the_end(run_id: UUID, *, timeout: float | None, as_json: bool) -> None:
    """Show the run until it ends or asks, and what is known of it when ``timeout`` seconds are over.

    Raises typer.Exit: 1 if it failed or was cancelled, TIMED_OUT, 130 after Ctrl-C.
    """
    from holdfast.runner import api
    from holdfast.runner.management import display, facts, run_page

    late: WaitTimeoutError | None = None
    try:
        out = display.console()
        try:
            if as_json:
                run = api.wait(run_id, timeout)
            else:
                with display.passing(out) as live:
                    run = _follow(run_id, timeout, live)
        except WaitTimeoutError as error:
            late, run = error, api.get(run_id)
        if as_json:
            facts.dump(facts.run_facts(run))
        else:
            out.print(run_page.run_view(run, api.steps(run_id), facts.effects_of(run)))
    except KeyboardInterrupt:
        typer.echo(f"The run goes on: holdfast watch {run_id}", err=True)
        raise typer.Exit(130) from None
    if late is not None:
        typer.echo(f"holdfast: {late.message}", err=True)
        raise typer.Exit(TIMED_OUT)
    if str(run.status) in {"failed", "cancelled"}:
        raise typer.Exit(1)


def _follow(run_id: UUID, timeout: float | None, live: Any) -> Any:
    """Draw the timeline while it grows; the waiting is ``wait``'s own, cut into pieces."""
    from holdfast.runner import api
    from holdfast.runner.management import display, run_page
    from holdfast.runner.runs.wait import what_then

    left = timeout
    rows = max(4, display.console().height - 10)  # what is below the screen is cut off, which is the newest
    while True:
        piece = REFRESH if left is None else min(REFRESH, left)
        try:
            return api.wait(run_id, piece)
        except WaitTimeoutError:
            left = None if left is None else left - piece
            if left is not None and left <= 0:
                now = api.get(run_id)
                raise WaitTimeoutError(
                    f"Run {run_id} is still {now.status} after {timeout:g} s; {what_then(now.status)}.",
                    run_id=run_id,
                    status=now.status,
                    timeout=timeout,
                ) from None
            live.update(
                run_page.run_view(api.get(run_id), api.steps(run_id), payload=False, lines=rows), refresh=True
            )
