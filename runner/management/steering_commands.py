"""``resume, cancel, retry``: what people do with a run that is there."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast.conf import settings
from holdfast.errors import UnknownQuestionError
from holdfast.runner.management.arguments import AsJson, Id, Watch
from holdfast.runner.management.bootstrap import ready
from holdfast.runner.management.reading import read_id, read_json
from holdfast.runner.management.watching import tell


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for function in (resume, cancel, retry):
        app.command(rich_help_panel="Runs")(function)


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
