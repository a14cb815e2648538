"""Runs as people see them: the list, one run with its questions and result, its timeline and effects.

Everything that a graph or a user wrote is shown as text, never as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from holdfast.runner.management import display
from holdfast.runner.management.facts import asked_value, decoded

if TYPE_CHECKING:  # drawn before Django is ready in a process that only tells the demo's story
    from holdfast.persistence.models import Effect
    from holdfast.persistence.records import Run, StepRecord


class RunsList:
    """Newest first: one line a run where the terminal is wide enough for it, otherwise one paragraph a run.

    Threads and deliveries only where they tell something: a thread of several runs, a run that was delivered again.
    """

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs = list(runs)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table()
        if display.fits(table, console, options):
            yield table
        else:
            yield from (self._paragraph(run) for run in self._runs)

    def _table(self) -> Table:
        threads = any(run.thread_id != str(run.id) for run in self._runs)
        again = any(run.deliveries > 1 for run in self._runs)
        more = [*(["deliveries"] if again else []), *(["thread"] if threads else [])]
        table = display.table("id", "graph", "status", "age", "took", *more)
        for run in self._runs:
            table.add_row(
                Text(str(run.id)),
                Text(run.graph),
                display.status(str(run.status)),
                display.since(run.created_at),
                _took(run),
                *([str(run.deliveries)] if again else []),
                *([Text("" if run.thread_id == str(run.id) else run.thread_id)] if threads else []),
            )
        return table

    def _paragraph(self, run: Run) -> Text:
        took, told = _took(run), [run.graph, f"{display.since(run.created_at)} old"]
        told += [f"took {took}"] if took else []
        told += [f"{run.deliveries} deliveries"] if run.deliveries > 1 else []
        told += [f"thread {run.thread_id}"] if run.thread_id != str(run.id) else []
        return Text.assemble(
            str(run.id),
            " ",
            display.status(str(run.status)),
            "\n",
            ("  " + ", ".join(told), "dim"),
            overflow="fold",
        )


def _took(run: Run) -> str:
    return "" if run.status == "interrupted" else display.since(run.started_at, run.finished_at)


def timeline(steps: Sequence[StepRecord], *, lines: int | None = None) -> Table:
    """What ran when, in which delivery and process; of more than ``lines`` lines the last.

    Siblings of one step that went the same way share a line. A change of delivery is marked by a rule. What
    an earlier delivery has left running was lost with its process.
    """
    newest = max((step.delivery for step in steps), default=0)
    table = display.table("step", "node", "delivery", "process", "took", "outcome", title="Timeline")

    def alike(step: StepRecord) -> tuple[Any, ...]:
        place = f"{step.namespace.split(':', 1)[0]}/" if step.namespace else ""
        outcome = "lost" if step.outcome == "running" and step.delivery < newest else step.outcome
        return step.step, place + step.node, step.delivery, step.owner, outcome

    shown = [(key, list(siblings)) for key, siblings in groupby(steps, alike)][-lines if lines else None :]
    for number, ((step, node, delivery, owner, outcome), siblings) in enumerate(shown):
        table.add_row(
            str(step),
            Text(node if len(siblings) == 1 else f"{node} ×{len(siblings)}"),
            str(delivery),
            Text(owner),
            _range(siblings),
            display.status(outcome),
            end_section=number + 1 == len(shown) or shown[number + 1][0][2] != delivery,
        )
    return table


def _range(siblings: Sequence[StepRecord]) -> str:
    """How long they took: the shortest and the longest."""
    took = sorted(
        (step.finished_at - step.started_at).total_seconds() for step in siblings if step.finished_at
    )
    if not took:
        return ""
    short, long = display.seconds(took[0]), display.seconds(took[-1])
    return (
        short
        if short == long
        else f"{short.removesuffix(' s')}–{long}"
        if took[-1] < 10
        else f"{short}–{long}"
    )


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
            display.panel(
                Group(display.value(asked_value(question)), Text(), Text(how, style="dim")),
                f"{question.node} asks",
                "yellow",
            )
        )
    return panels


def failure_panel(run: Run, error: Mapping[str, Any]) -> Panel:
    """Why a run did not succeed, where, and what can be done."""
    message = str(error.get("message", ""))
    # A run that somebody cancelled has no exception, and its status says as much.
    told = Text(message if error.get("type") == "Cancelled" else f"{error.get('type', 'error')}: {message}")
    if where := error.get("where"):
        told.append(f"\nat {where}")
    hints = [f"To go on: holdfast retry {run.id}"]
    if error.get("traceback"):
        hints.append(f"Traceback: holdfast show {run.id} --json")
    told.append("\n\n" + "\n".join(hints), style="dim")
    return display.panel(told, str(run.status), "red")


def run_view(
    run: Run,
    steps: Sequence[StepRecord] = (),
    effects: Sequence[Effect] = (),
    *,
    payload: bool = True,
    lines: int | None = None,
) -> Group:
    """Everything about one run, from its status to its effects; ``lines`` of its timeline, the last ones."""
    head = Table.grid(padding=(0, 2))
    for name, shown in _head(run):
        head.add_row(Text(name, style="dim"), shown)
    parts: list[RenderableType] = [head]
    if run.status == "interrupted":  # only then can what is open be answered
        parts += question_panels(run)
    if run.error:
        parts.append(failure_panel(run, run.error))
    if payload and run.status == "succeeded":
        parts.append(display.panel(display.value(decoded(lambda: run.result)), "result", "green"))
    if steps:
        parts += [Text(), timeline(steps, lines=lines)]
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
