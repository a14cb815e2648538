"""Tables and panels for people. Everything that a graph or a user wrote is shown as text, never as markup."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from holdfast.runner.management.facts import decoded, plain

if TYPE_CHECKING:  # `up` draws before Django is ready
    from holdfast.persistence.models import Effect
    from holdfast.persistence.records import Run, StepRecord
    from holdfast.runner.up import Options, Surroundings

STYLES: Final = {
    "queued": "cyan",
    "running": "bold blue",
    "interrupted": "bold yellow",
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "dim",
    "done": "green",
    "cached": "magenta",
    "lost": "bold red",
    "begun": "yellow",
    "in_doubt": "bold yellow",
}
LONGEST_VALUE: Final = 2000
"""Characters of a result that are shown; ``--json`` shows all."""


def console() -> Console:
    """The terminal; honours NO_COLOR, and its width when it has one."""
    return Console(highlight=False)


def status(text: str) -> Text:
    """A status or outcome in its colour."""
    return Text(text, style=STYLES.get(text, ""))


def seconds(value: float | None) -> str:
    """A duration as people say it: 0.35 s, 12 s, 3 min, 2 h, 5 d."""
    if value is None:
        return ""
    if value < 10:
        return f"{value:.2f} s"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if value < limit:
            return f"{value / size:.0f} {unit}"
    return f"{value / 86400:.0f} d"


def _since(moment: datetime | None, until: datetime | None = None) -> str:
    return seconds(((until or datetime.now(UTC)) - moment).total_seconds()) if moment else ""


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False
    )
    for column in columns:
        right = column in {"step", "delivery", "tries", "deaths", "attempts", "took", "age"}
        # Only these give way on a narrow terminal.
        least = (
            4 if column in {"process", "key"} else 8 if column == "thread" else 6 if column == "age" else None
        )
        fixed = column in {"id", "status", "outcome"}
        table.add_column(
            column,
            justify="right" if right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=36 if column == "id" else 11 if fixed else least,
        )
    return table


def runs_table(runs: Iterable[Run]) -> Table:
    """Newest first, one line a run; threads only where one is not just its run's own."""
    listed = list(runs)
    threads = any(run.thread_id != str(run.id) for run in listed)
    table = _table("id", "graph", "status", "tries", "age", "took", *(["thread"] if threads else []))
    for run in listed:
        table.add_row(
            Text(str(run.id)),
            Text(run.graph),
            status(str(run.status)),
            str(run.deliveries),
            _since(run.created_at),
            "" if run.status == "interrupted" else _since(run.started_at, run.finished_at),
            *([Text("" if run.thread_id == str(run.id) else run.thread_id)] if threads else []),
        )
    return table


def timeline(steps: Sequence[StepRecord]) -> Table:
    """What ran when, in which delivery and process. A change of delivery is marked by a rule.

    What an earlier delivery has left running was lost with its process.
    """
    newest = max((step.delivery for step in steps), default=0)
    table = _table("step", "node", "delivery", "process", "took", "outcome", title="Timeline")
    for number, step in enumerate(steps):
        last = number + 1 == len(steps) or steps[number + 1].delivery != step.delivery
        place = f"{step.namespace.split(':', 1)[0]}/" if step.namespace else ""
        table.add_row(
            str(step.step),
            Text(place + step.node),
            str(step.delivery),
            Text(step.owner),
            _since(step.started_at, step.finished_at) if step.finished_at else "",
            status("lost" if step.outcome == "running" and step.delivery < newest else step.outcome),
            end_section=last,
        )
    return table


def effects_table(effects: Iterable[Effect]) -> Table:
    """The ledger of side effects."""
    table = _table("effect", "kind", "state", "attempts", "key", title="Effects")
    for effect in effects:
        table.add_row(
            Text(effect.function.rpartition(".")[2]),
            Text(effect.kind),
            status(effect.state),
            str(effect.attempts),
            Text(effect.key[:16]),
        )
    return table


MARKS: Final = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "wrong": ("✗", "bold red"),
    "skipped": ("-", "dim"),
}


def finding_line(part: str, verdict: str, detail: str, mend: str) -> Table:
    """One line of ``doctor``, with the way to mend it below."""
    mark, style = MARKS[verdict]
    line = Table.grid(padding=(0, 1))
    line.add_column(width=1)
    line.add_column(width=10)
    line.add_column()
    line.add_row(Text(mark, style=style), Text(part, style=style), Text(detail))
    if mend:
        line.add_row("", "", Text(f"→ {mend}", style=style))
    return line


def checked(verdict: str, text: str) -> Text:
    """One line that was checked."""
    mark, style = MARKS[verdict]
    return Text.assemble((f"{mark} ", style), text)


def counts_table(counts: dict[str, Any], done: str) -> Table:
    """What was deleted, sort by sort."""
    table = _table("what", done)
    table.columns[1].justify = "right"
    for name, count in counts.items():
        table.add_row(Text(str(name).replace("_", " ")), Text(str(count)))
    return table


def up_banner(options: Options, around: Surroundings) -> Panel:
    """Where everything is, and how to reach it from another terminal."""
    from holdfast.runner.up import HOST, USER

    lines = Table.grid(padding=(0, 2))
    lines.add_row("admin", Text(f"http://{HOST}:{options.port}/admin/", style="bold"))
    if options.flower:
        lines.add_row("flower", Text(f"http://{HOST}:{options.flower_port}/", style="bold"))
    if around.own_database:
        lines.add_row("login", Text(f"{USER} / {around.password}"))
        lines.add_row("shell", Text(f". {around.home / 'env'}", style="bold"))
        lines.add_row("", Text('then: holdfast enqueue joke \'{"topic": "crabs"}\' --watch', style="dim"))
    lines.add_row("end", "Ctrl-C")
    return Panel(lines, title="Holdfast is up", title_align="left", border_style="green", expand=False)


def value(content: Any) -> Text:
    """A stored value as indented JSON, cut where it grows long."""
    text = content if isinstance(content, str) else json.dumps(plain(content), indent=2, ensure_ascii=False)
    cut = (
        text
        if len(text) <= LONGEST_VALUE
        else text[:LONGEST_VALUE] + f"\n… {len(text) - LONGEST_VALUE} more characters"
    )
    return Text(cut)


def question_panels(run: Run) -> list[RenderableType]:
    """What the run asks, and the command that answers it."""
    only = len(run.questions) == 1
    panels: list[RenderableType] = []
    for question in run.questions:
        how = f"holdfast resume {run.id} ANSWER" + ("" if only else f" --question {question.id}")
        how += "\nANSWER is JSON, like true or '{\"a\": 1}'; for plain text: --text ANSWER"
        panels.append(
            Panel(
                Group(value(question.value), Text(), Text(how, style="dim")),
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
    if run.status == "interrupted":  # until its end, a run remembers what it has asked
        parts += question_panels(run)
    if run.error:
        message = f"{run.error.get('type', 'error')}: {run.error.get('message', '')}"
        parts.append(Panel(Text(message), title="failed", title_align="left", border_style="red"))
    if payload and run.status == "succeeded":
        parts.append(
            Panel(
                value(decoded(lambda: run.result)), title="result", title_align="left", border_style="green"
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
        ("status", status(str(run.status))),
        (
            "deliveries",
            Text(f"{run.deliveries}" + _crashes(run.crashes)),
        ),
    ]
    if run.started_at and run.status == "interrupted":
        lines.append(("started", Text(f"{_since(run.started_at)} ago")))
    elif run.started_at:
        lines.append(("took", Text(_since(run.started_at, run.finished_at))))
    elif run.not_before > datetime.now(UTC):
        lines.append(("due", Text(run.not_before.isoformat(timespec="seconds"))))
    if run.owner:
        lines.append(("process", Text(run.owner)))
    return lines


def _crashes(count: int) -> str:
    return f", {count} {'crash' if count == 1 else 'crashes'}" if count else ""
