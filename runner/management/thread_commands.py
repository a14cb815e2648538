"""``history, state, fork``: travelling in a thread's time."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from holdfast.runner.management.arguments import AsJson, Thread
from holdfast.runner.management.bootstrap import ready


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for function in (history, state, fork):
        app.command(rich_help_panel="Threads")(function)


def history(
    thread: Thread,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    values: Annotated[bool, typer.Option("--values", help="With the state's values at each.")] = False,
    as_json: AsJson = False,
) -> None:
    """List a thread's checkpoints, newest first: what had been done by then, and what came next.

    [dim]holdfast history user-7[/dim]

    [dim]holdfast history user-7 --values --limit 3[/dim]

    [dim]holdfast history user-7 --json | jq -r '.[] | select(.step == 2).checkpoint_id'[/dim]
    """
    ready()
    from holdfast.runner import api
    from holdfast.runner.management import display, facts, thread_page

    found = list(islice(api.history(thread, limit=limit + 1), limit + 1))
    shown = found[:limit]
    if as_json:
        facts.dump([thread_page.snapshot_facts(snapshot, values=values) for snapshot in shown])
        return
    out = display.console()
    if not shown:
        out.print("No checkpoints yet.", style="dim")
        return
    out.print(thread_page.History(thread, shown, values=values))
    if len(found) > limit:
        out.print(f"There are older ones: --limit {2 * limit}", style="dim")
    if out.is_terminal:
        out.print(thread_page.history_hint(thread), soft_wrap=True)  # to be copied


def state(
    thread: Thread,
    checkpoint: Annotated[
        str | None, typer.Option(metavar="ID", help="As it was at this checkpoint; by default as it is now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a thread's state: its values, what comes next, and what it asks.

    [dim]holdfast state user-7[/dim]

    [dim]holdfast state user-7 --checkpoint 1f0c… --json | jq .values[/dim]
    """
    ready()
    from holdfast.runner import api
    from holdfast.runner.management import display, facts, thread_page

    snapshot = api.state(thread, checkpoint_id=checkpoint)
    if as_json:
        facts.dump(thread_page.snapshot_facts(snapshot, values=True))
    elif snapshot.created_at is None:
        display.console().print("No checkpoints yet.", style="dim")
    else:
        display.console().print(thread_page.state_view(thread, snapshot))


def fork(
    thread: Thread,
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="As `history` lists them.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="NEW_THREAD", help="Its id; by default a new one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Branch a new thread off a checkpoint; the old one stays as it is. Then enqueue a run on the new one.

    [dim]holdfast fork user-7 1f0c… --to user-7-again[/dim]

    [dim]holdfast enqueue digest --thread user-7-again[/dim]

    The first copies; the second goes on from there, as it would have gone on then. With an input, the graph
    begins anew over the state that the checkpoint had.
    """
    ready()
    from holdfast.runner import api
    from holdfast.runner.management import display, facts, thread_page
    from holdfast.runner.runs.thread import graph_of

    made = api.fork(thread, checkpoint, to)
    snapshot, graph = api.state(made), graph_of(made)
    if as_json:
        facts.dump(thread_page.fork_facts(thread, snapshot, graph))
    else:
        display.console().print(thread_page.fork_view(thread, snapshot, graph))
