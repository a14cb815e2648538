"""``cache``: what the node cache holds and has saved, and emptying it by node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from holdfast.runner.management import display, facts
from holdfast.runner.management.arguments import AsJson
from holdfast.runner.management.bootstrap import ready

if TYPE_CHECKING:
    from holdfast.persistence.node_cache.usage import EntryUse, NodeUse

Node = Annotated[
    str | None,
    typer.Argument(
        metavar="[NODE]", help="Show its entries: a node's name, or its function's, as in digest.read."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(rich_help_panel="Upkeep")(cache)


def cache(
    node: Node = None,
    clear: Annotated[bool, typer.Option("--clear", help="Delete what is cached of the node.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Entries that are shown.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show what the node cache holds, how often it was used, and the computing time that this has saved.

    [dim]holdfast cache[/dim]

    [dim]holdfast cache summarise[/dim]

    [dim]holdfast cache summarise --clear[/dim]
    """
    if clear and not node:
        raise typer.BadParameter("say of which node; `holdfast cache` names them", param_hint="--clear")
    ready()
    from holdfast.persistence.node_cache import usage

    out = display.console()
    if clear and node:
        deleted = usage.clear(node)
        if as_json:
            facts.dump({"deleted": deleted})
        else:
            out.print(f"{deleted} {'entry' if deleted == 1 else 'entries'} deleted")
        return
    found = usage.entries(node, limit=limit) if node else usage.nodes()
    if as_json:
        facts.dump(found)
    elif not found:
        out.print(f"nothing is cached of {node}" if node else "nothing is cached", style="dim", markup=False)
    else:
        out.print(_List(found))


class _List:
    """One line a node or an entry where the terminal is wide enough for it, otherwise one paragraph."""

    def __init__(self, found: list[NodeUse] | list[EntryUse]) -> None:
        self._lines = [_line(one) for one in found]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = display.table(*self._lines[0])
        for column in table.columns:
            column.justify = "left" if column.header in ("node", "version", "key") else "right"
        for line in self._lines:
            table.add_row(*map(Text, line.values()))
        if display.fits(table, console, options):
            yield table
            return
        for line in self._lines:
            told = [f"{name} {value}" for name, value in line.items() if value and name != "node"]
            yield Text.assemble(line["node"], "\n", ("  " + ", ".join(told), "dim"), overflow="fold")


def _line(one: NodeUse | EntryUse) -> dict[str, str]:
    from holdfast.persistence.node_cache.usage import NodeUse

    line = {"node": one.namespace[-1], "version": one.version}
    if isinstance(one, NodeUse):
        line["entries"] = f"{one.entries}" + (f" ({one.expired} expired)" if one.expired else "")
    else:
        line |= {"key": one.key, "took": display.seconds(one.cost)}
    return line | {
        "hits": f"{one.hits}",
        "misses": f"{one.misses}",
        "saved": display.seconds(one.saved),
        "size": _size(one.bytes),
    }


def _size(count: int) -> str:
    for unit, size in (("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
