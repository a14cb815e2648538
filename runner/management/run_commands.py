"""``graphs, enqueue, runs, show, watch, resume, cancel, retry``: thin wrappers of the public API."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import typer

from holdfast.conf import settings
from holdfast.errors import UnknownQuestionError
from holdfast.runner.management.bootstrap import ready
from holdfast.runner.management.reading import read_id, read_json, read_object, read_time
from holdfast.runner.management.watching import follow_to_the_end, tell

Strategy = Literal["enqueue", "reject", "interrupt", "rollback"]
Id = Annotated[str, typer.Argument(metavar="ID", help="The run's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Stay and show its progress.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    panel = "Runs"
    for function in (graphs, enqueue, runs, show, watch, resume, cancel, retry):
        app.command(rich_help_panel=panel)(function)


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


def resume(
    run_id: Id,
    answer: Annotated[str | None, typer.Argument(metavar="JSON|@FILE|-", help="The answer, as JSON.")] = None,
    text: Annotated[str | None, typer.Option(help="The answer as plain text, instead of JSON.")] = None,
    question: Annotated[
        str | None, typer.Option(help="Which question it answers, where the run asks several.")
    ] = None,
    watching: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Answer what a run asks.

    [dim]holdfast resume 0193… true[/dim]

    [dim]holdfast resume 0193… --text "yes, but shorter" --question 5f1c…[/dim]
    """
    identity = read_id(run_id)
    if (answer is None) == (text is None):
        raise typer.BadParameter("give the answer either as JSON or with --text", param_hint="JSON")
    value: Any = text if text is not None else read_json(answer, hint="JSON", plain="--text")
    ready()
    from holdfast.runner import api

    if question is not None:
        # The API takes a dict with other keys for a plain answer; here it was meant as a question's id.
        now = api.get(identity)
        asked = [known.id for known in now.questions]
        if question not in asked:
            raise UnknownQuestionError(
                f"Run {identity} does not ask {question!r}; it is {now.status} and asks "
                f"{', '.join(asked) or 'nothing'}.",
                run_id=identity,
                status=now.status,
                unknown=[question],
                asked=asked,
            )
    run = api.resume(identity, {question: value} if question else value)
    tell(run, f"answered, now {run.status}", watching=watching, as_json=as_json)


def cancel(
    run_id: Id,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Also delete what it wrote to its thread.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask for a run's end; a running one stops at its next step.

    [dim]holdfast cancel 0193… --rollback[/dim]
    """
    identity = read_id(run_id)
    ready()
    from holdfast.runner import api

    run = api.cancel(identity, rollback=rollback)
    if run.status.ended:
        done = str(run.status)
    elif rollback:
        done = f"still {run.status}: it is taken from its worker at once, and undone"
    else:
        done = f"still {run.status}: it stops at its next step, and after {settings().GRACE:g} s in any case"
    tell(run, done, as_json=as_json)


def retry(run_id: Id, watching: Watch = False, as_json: AsJson = False) -> None:
    """Let a failed or cancelled run go on from its last checkpoint.

    [dim]holdfast retry 0193… --watch[/dim]
    """
    identity = read_id(run_id)
    ready()
    from holdfast.runner import api

    tell(api.retry(identity), "queued again", watching=watching, as_json=as_json)
