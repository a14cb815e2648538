"""The terminal's common forms: colours, durations, tables, checked lines, and the banner of ``up``.

Everything that a graph or a user wrote is shown as text, never as markup, and never as the terminal's orders.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.panel import Panel
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from holdfast.runner.management.facts import plain

if TYPE_CHECKING:  # `up` draws before Django is ready
    from holdfast.persistence.sizes import ThreadSize
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
LEAST: Final = {"process": 4, "key": 4, "took": 6}
"""Characters that a column keeps on a narrow terminal."""
YIELDING: Final = {"found in", "key", "node", "process", "thread", "type"}
"""Columns of names that may be long: these are shortened where the terminal is too narrow for all."""
UNCUT: Final = 100_000
"""Columns of what is no terminal, a pipe or a file: nothing there is folded or shortened."""
LONGEST_VALUE: Final = 2000
"""Characters of a result that are shown; ``--json`` shows all."""


_ORDERS: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, of which a terminal makes titles, colours and clipboards, and those that turn the order of what
stands beside them (bidirectional overrides); rich writes its own apart."""


class _Terminal(Console):
    """Shows U+FFFD in place of each control character that stands in a text: an error may quote anybody."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The segments of the renderable, made harmless."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=_ORDERS.sub("\ufffd", segment.text))


def console() -> Console:
    """The terminal in its width, or a pipe without one. NO_COLOR takes bold and dim away, too."""
    plainly: dict[str, Any] = {"color_system": None} if os.environ.get("NO_COLOR") else {}
    out = _Terminal(highlight=False, **plainly)
    if not out.is_terminal:
        out.width = UNCUT
    return out


@contextmanager
def passing(out: Console) -> Iterator[Live]:
    """What is drawn while it changes, and is gone afterwards.

    It is emptied before it ends: rich draws the last picture once more in its full height, and cannot take
    back what of it has left the top of the screen.
    """
    with Live(console=out, auto_refresh=False, transient=True) as live:
        try:
            yield live
        finally:
            live.update(Text(), refresh=True)


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


def since(moment: datetime | None, until: datetime | None = None) -> str:
    """The time from one moment to the other, or to now; empty if it has not begun."""
    return seconds(((until or datetime.now(UTC)) - moment).total_seconds()) if moment else ""


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table; which columns give way on a narrow terminal goes by their names."""
    made = Table(
        title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False
    )
    for column in columns:
        right = column in {"step", "delivery", "deliveries", "attempts", "took", "age"}
        least = LEAST.get(column)
        fixed = column in {"id", "status", "outcome"}
        made.add_column(
            column,
            justify="right" if right else "left",
            # rich narrows what may wrap; where nothing may, it takes the same from all, until some are gone.
            no_wrap=column not in YIELDING,
            overflow="ellipsis",
            min_width=36 if column in {"id", "checkpoint"} else 11 if fixed else least,
        )
    return made


def fits(shown: Table, out: Console, options: ConsoleOptions) -> bool:
    """Whether the terminal is wide enough for all that stands in the table's columns."""
    return Measurement.get(out, options.update(max_width=UNCUT), shown).maximum <= options.max_width


MARKS: Final = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "wrong": ("✗", "bold red"),
    "skipped": ("-", "dim"),
}


def panel(content: RenderableType, title: str, colour: str) -> Panel:
    """A frame as wide as what is in it."""
    return Panel(content, title=Text(title), title_align="left", border_style=colour, expand=False)


def finding_line(part: str, verdict: str, detail: str, mend: str) -> Table:
    """One line of ``doctor``, with the way to mend it below."""
    mark, style = MARKS[verdict]
    line = Table.grid(padding=(0, 1))
    line.add_column(width=1)
    line.add_column(width=len("checkpointer"))
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
    shown = table("what", done)
    shown.columns[1].justify = "right"
    for name, count in counts.items():
        shown.add_row(Text(str(name).replace("_", " ")), Text(str(count)))
    return shown


def thread_size(size: ThreadSize) -> Text:
    """What the checkpoints of a run's thread take; a channel that is larger than the limit stands out."""
    told = Text(
        f"{size.checkpoints} checkpoints of its thread take {size.bytes:,} bytes; the newest has {size.newest_bytes:,}, "
        f"read in {size.read_seconds * 1000:.1f} ms: ",
        style="dim",
    )
    for number, channel in enumerate(size.channels):
        large = channel.name in size.large
        told.append(", " if number else "")
        told.append(f"{channel.name} {channel.bytes:,}", style="yellow" if large else "dim")
        told.append(" (more than HOLDFAST['LARGE_CHANNEL'])" if large else "", style="yellow")
    return told


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
    return panel(lines, "Holdfast is up", "green")


def value(content: Any) -> Text:
    """A stored value as indented JSON, cut where it grows long."""
    text = content if isinstance(content, str) else json.dumps(plain(content), indent=2, ensure_ascii=False)
    cut = (
        text
        if len(text) <= LONGEST_VALUE
        else text[:LONGEST_VALUE] + f"\n… {len(text) - LONGEST_VALUE} more characters"
    )
    return Text(cut)
