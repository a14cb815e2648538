"""``rotate-keys``: re-encrypts what is stored, and says which keys are in use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.runner.management.arguments import AsJson
from holdfast.runner.management.bootstrap import ready

if TYPE_CHECKING:
    from holdfast.persistence.rotation import Held, Report


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(rich_help_panel="Upkeep")(rotate_keys)


def rotate_keys(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which keys are in use.")] = False,
    batch: Annotated[int, typer.Option(min=1, help="Rows of one transaction, at most.")] = 500,
    pause: Annotated[
        float, typer.Option(min=0, help="Seconds to leave the database alone between two transactions.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Bring all that is stored under the active key of HOLDFAST['ENCRYPTION'], while workers go on.

    What is in the clear is encrypted; with no active key, all is decrypted. Ctrl-C stops it at any moment: what
    is done stays done, and the next time goes on from there. Exit code 1 if values are left.

    [dim]holdfast rotate-keys --dry-run[/dim]
    """
    ready()
    from holdfast.persistence import rotation

    if dry_run:
        _tell(None, rotation.census(), as_json)
        return
    newest: list[Report] = []
    stopped = False
    with _bar() as draw:

        def progress(report: Report) -> None:
            newest[:] = [report]
            draw(report)

        try:
            rotation.rotate(batch=batch, pause=pause, progress=progress)
        except KeyboardInterrupt:
            stopped = True
    report = newest[0] if newest else None
    if stopped:
        done = report.done if report else 0
        typer.echo(
            f"stopped: {done} of {report.total if report else '?'} rows are rewritten; rotate-keys goes on from there",
            err=True,
        )
        raise typer.Exit(130)
    _tell(report, rotation.census(), as_json)
    if report and (report.failed or report.busy):
        raise typer.Exit(1)


@contextmanager
def _bar() -> Iterator[Callable[[Report], None]]:
    """Draws the progress on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("rewriting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("rewriting", total=None)
        yield lambda report: bar.update(task, completed=report.done, total=max(report.total, report.done))


def _tell(report: Report | None, held: list[Held], as_json: bool) -> None:
    from holdfast.persistence.encryption import keyring
    from holdfast.runner.management import display, facts

    ring = keyring()
    used = {each.key for each in held}
    if as_json:
        done: dict[str, Any] = facts.plain(report) if report else {}
        facts.dump({"active": ring.active, **done, "stored": held, "unused_keys": sorted({*ring.ids} - used)})
        return
    out = display.console()
    if report:
        out.print(display.counts_table(report.rewritten, "rewritten"))
        for failure in report.failures:
            out.print(display.checked("wrong", f"{failure.table} {failure.row}: {failure.reason}"))
        if report.failed > len(report.failures):
            out.print(display.checked("wrong", f"{report.failed - len(report.failures)} more"))
        if report.busy:
            out.print(f"{report.busy} rows were in use: run it again", style="yellow")
        out.print()
    table = display.table("stored in", "key", "values")
    table.columns[2].justify = "right"
    for each in held:
        table.add_row(each.column, each.key or "(in the clear)", str(each.values))
    out.print(table)
    for name in ring.ids:
        if name not in used and name != ring.active:
            out.print(
                f"the key {name} is in use nowhere: once no process has it as its active key, it can go"
            )
