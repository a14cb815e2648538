"""``runs, show, watch``: looking at runs; nothing here changes one."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from holdfast.runner.management.arguments import AsJson, Id
from holdfast.runner.management.bootstrap import ready
from holdfast.runner.management.reading import read_id
from holdfast.runner.management.watching import follow_to_the_end


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for function in (runs, show, watch):
        app.command(rich_help_panel="Runs")(function)


def runs(
    status: Annotated[
        str | None, typer.Option(help="queued, running, interrupted, succeeded, failed or cancelled.")
    ] = None,
    graph: Annotated[str | None, typer.Option(help="Runs of this graph only.")] = None,
    thread: Annotated[str | None, typer.Option(help="Runs of this thread only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest runs.

    [dim]holdfast runs --status interrupted[/dim]
    """
    ready()
    from holdfast.persistence.models import RunStatus
    from holdfast.runner import api
    from holdfast.runner.management import display, facts, run_page

    if status is not None and status not in RunStatus.values:
        raise typer.BadParameter(
            f"{status!r} is not one of {', '.join(RunStatus.values)}", param_hint="--status"
        )
    found = api.runs(status=status, graph=graph, thread_id=thread, limit=limit)
    if as_json:
        facts.dump([facts.run_facts(run, payload=False) for run in found])
    elif found:
        display.console().print(run_page.RunsList(found))
    else:
        display.console().print("No runs.", style="dim")


def show(run_id: Id, as_json: AsJson = False) -> None:
    """Show one run: its status, questions, result, timeline and effects.

    [dim]holdfast show 0193… --json | jq .result[/dim]
    """
    identity = read_id(run_id)
    ready()
    from holdfast.persistence.sizes import size_of
    from holdfast.runner import api
    from holdfast.runner.management import display, facts, run_page

    run = api.get(identity)
    steps, effects, size = api.steps(identity), facts.effects_of(run), size_of(run.thread_id)
    if as_json:
        facts.dump(
            facts.run_facts(run)
            | {
                "timeline": [facts.step_facts(step) for step in steps],
                "effects": [facts.effect_facts(effect) for effect in effects],
                "thread_size": size,
            }
        )
    else:
        out = display.console()
        out.print(run_page.run_view(run, steps, effects))
        if size.checkpoints:
            out.print(display.thread_size(size))


def watch(
    run_id: Id,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to watch at most.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a run's progress until it ends or asks. Ctrl-C leaves it running.

    Exit code 0 when it succeeded or asks, 1 when it failed or was cancelled, 124 when --timeout was over first.

    [dim]holdfast watch 0193…[/dim]

    [dim]holdfast watch 0193… --timeout 60 --json[/dim]
    """
    identity = read_id(run_id)
    if timeout is not None and not math.isfinite(timeout):
        raise typer.BadParameter(f"{timeout:g} is no number of seconds", param_hint="--timeout")
    ready()
    follow_to_the_end(identity, timeout=timeout, as_json=as_json)
