"""Runs as people see them: the list, one run with its questions and result, its timeline and effects.

Everything that a graph or a user wrote is shown as text, never as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from holdfast.runner.management import display
from holdfast.runner.management.facts import asked_value, decoded

if TYPE_CHECKING:  # drawn before Django is ready in a process that only tells the demo's story
    from holdfast.persistence.models import Effect
    from holdfast.persistence.records import Run, StepRecord


def runs_table(runs: Iterable[Run]) -> Table:
    """Newest first, one line a run; threads only where one is not just its run's own."""
    listed = list(runs)
    threads = any(run.thread_id != str(run.id) for run in listed)
    table = display.table("id", "graph", "status", "tries", "age", "took", *(["thread"] if threads else []))
    if threads:
        table.padding = (0, 1, 0, 0)  # a column more, and still no wider than 80 characters
    for run in listed:
        table.add_row(
            Text(str(run.id)),
            Text(run.graph),
            display.status(str(run.status)),
            str(run.deliveries),
            display.since(run.created_at),
            "" if run.status == "interrupted" else display.since(run.started_at, run.finished_at),
            *([Text("" if run.thread_id == str(run.id) else run.thread_id)] if threads else []),
        )
    return table


def timeline(steps: Sequence[StepRecord]) -> Table:
    """What ran when, in which delivery and process. A change of delivery is marked by a rule.

    What an earlier delivery has left running was lost with its process.
    """
    newest = max((step.delivery for step in steps), default=0)
    table = display.table("step", "node", "delivery", "process", "took", "outcome", title="Timeline")
    for number, step in enumerate(steps):
        last = number + 1 == len(steps) or steps[number + 1].delivery != step.delivery
        place = f"{step.namespace.split(':', 1)[0]}/" if step.namespace else ""
        table.add_row(
            str(step.step),
            Text(place + step.node),
            str(step.delivery),
            Text(step.owner),
            display.since(step.started_at, step.finished_at) if step.finished_at else "",
            display.status("lost" if step.outcome == "running" and step.delivery < newest else step.outcome),
            end_section=last,
        )
    return table


def effects_table(effects: Iterable[Effect]) -> Table:
    """The ledger of side effects."""
    table = display.table("effect", "kind", "state", "attempts", "key", title="Effects")
    for effect in effects:
        table.add_row(
            Text(effect.function.rpartition(".")[2]),
            Text(effect.kind),
            display.status(effect.state),
            str(effect.attempts),
            Text(effect.key[:16]),
        )
    return table


def question_panels(run: Run) -> list[RenderableType]:
    """What the run asks, and the command that answers it."""
    only = len(run.questions) == 1
    panels: list[RenderableType] = []
    for question in run.questions:
        how = f"holdfast resume {run.id} ANSWER" + ("" if only else f" --question {question.id}")
        how += "\nANSWER is JSON, like true or '{\"a\": 1}'; for plain text: --text ANSWER"
        panels.append(
            Panel(
                Group(display.value(asked_value(question)), Text(), Text(how, style="dim")),
                title=Text(f"{question.node} asks"),
                title_align="left",
                border_style="yellow",
            )
        )
    return panels


def run_view(
    run: Run, steps: Sequence[StepRecord] = (), effects: Sequence[Effect] = (), *, payload: bool = True
) -> Group:
    """Everything about one run, from its status to its effects."""
    head = Table.grid(padding=(0, 2))
    for name, shown in _head(run):
        head.add_row(Text(name, style="dim"), shown)
    parts: list[RenderableType] = [head]
    if run.status == "interrupted":  # only then can what is open be answered
        parts += question_panels(run)
    if run.error:
        message = f"{run.error.get('type', 'error')}: {run.error.get('message', '')}"
        parts.append(Panel(Text(message), title=str(run.status), title_align="left", border_style="red"))
    if payload and run.status == "succeeded":
        parts.append(
            Panel(
                display.value(decoded(lambda: run.result)),
                title="result",
                title_align="left",
                border_style="green",
            )
        )
    if steps:
        parts += [Text(), timeline(steps)]
    if effects:
        parts += [Text(), effects_table(effects)]
    return Group(*parts)


def _head(run: Run) -> list[tuple[str, RenderableType]]:
    lines: list[tuple[str, RenderableType]] = [
        ("run", Text(str(run.id))),
        ("graph", Text(f"{run.graph} (version {run.version})")),
        ("thread", Text(run.thread_id)),
        ("status", display.status(str(run.status))),
        (
            "deliveries",
            Text(f"{run.deliveries}" + _crashes(run.crashes)),
        ),
    ]
    if run.started_at and run.status == "interrupted":
        lines.append(("started", Text(f"{display.since(run.started_at)} ago")))
    elif run.started_at:
        lines.append(("took", Text(display.since(run.started_at, run.finished_at))))
    elif run.not_before > datetime.now(UTC):
        lines.append(("due", Text(run.not_before.isoformat(timespec="seconds"))))
    if run.owner:
        lines.append(("process", Text(run.owner)))
    return lines


def _crashes(count: int) -> str:
    return f", {count} {'crash' if count == 1 else 'crashes'}" if count else ""
