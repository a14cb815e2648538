"""``graphs, enqueue``: what can be run, and running it."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from holdfast.runner.management.arguments import AsJson, Watch
from holdfast.runner.management.bootstrap import ready
from holdfast.runner.management.reading import read_json, read_object, read_time
from holdfast.runner.management.watching import tell

Strategy = Literal["enqueue", "reject", "interrupt", "rollback"]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for function in (graphs, enqueue):
        app.command(rich_help_panel="Runs")(function)


def graphs(as_json: AsJson = False) -> None:
    """List the registered graphs: versions, the newest last, where they stand, and what they take.

    [dim]holdfast graphs[/dim]

    [dim]holdfast graphs --json | jq -r '.[].name'[/dim]
    """
    ready()
    from holdfast.runner.management import display, facts, graph_list

    found = graph_list.registered()
    if as_json:
        facts.dump([graph_list.graph_facts(graph) for graph in found])
    elif found:
        display.console().print(*graph_list.paragraphs(found), sep="\n")
    else:
        display.console().print("No graphs: @holdfast.register them in the graphs.py of an installed app.")


def enqueue(
    graph: Annotated[str, typer.Argument(metavar="GRAPH", help="The name it is registered under.")],
    input: Annotated[
        str | None, typer.Argument(metavar="JSON|@FILE|-", help="The input: JSON, a file of it, or stdin.")
    ] = None,
    thread: Annotated[str | None, typer.Option(help="Go on with this thread; by default a new one.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key gives the same run.")] = None,
    run_after: Annotated[
        str | None, typer.Option(help="When it is due: 90s, 10m, 2h, 3d, or an ISO 8601 time.")
    ] = None,
    deadline: Annotated[str | None, typer.Option(help="When it is given up, in the same forms.")] = None,
    priority: Annotated[int, typer.Option(help="0 to 9; 9 goes first.")] = 0,
    queue: Annotated[str | None, typer.Option(help="By default the project's task routes decide.")] = None,
    strategy: Annotated[
        Strategy, typer.Option(help="What an unfinished run on the thread means.")
    ] = "enqueue",
    config: Annotated[str | None, typer.Option(metavar="JSON", help="LangGraph config.")] = None,
    context: Annotated[str | None, typer.Option(metavar="JSON", help="The graph's context.")] = None,
    metadata: Annotated[str | None, typer.Option(metavar="JSON", help="Kept in the run's row.")] = None,
    version: Annotated[str | None, typer.Option(help="Of the graph; by default the newest.")] = None,
    watching: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Accept a run, durable once this returns.

    [dim]holdfast enqueue joke '{"topic": "crabs"}'[/dim]

    [dim]holdfast enqueue digest @input.json --thread weekly --watch[/dim]

    [dim]jq -n '{steps: 20}' | holdfast enqueue long_steps - --run-after 10m --json[/dim]
    """
    request = {
        "input": read_json(input, hint="JSON"),
        "run_after": read_time(run_after, hint="--run-after"),
        "deadline": read_time(deadline, hint="--deadline"),
        "config": read_object(config, hint="--config"),
        "context": read_json(context, hint="--context"),
        "metadata": read_object(metadata, hint="--metadata"),
    }
    ready()
    from holdfast.runner import api

    run = api.enqueue(
        graph,
        request.pop("input"),
        thread_id=thread,
        idempotency_key=key,
        priority=priority,
        queue=queue,
        multitask_strategy=strategy,
        version=version,
        **request,
    )
    tell(run, f"accepted, now {run.status}", watching=watching, as_json=as_json)
