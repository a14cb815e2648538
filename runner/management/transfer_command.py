"""``transfer``: checkpoints and store items from one backend to another."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from holdfast.runner.management import display, facts
from holdfast.runner.management.arguments import AsJson
from holdfast.runner.management.bootstrap import ready

if TYPE_CHECKING:
    from holdfast.persistence.transfer import Report

Address = "django, postgresql://…, sqlite:///file, redis://…, mongodb://… or module:factory."


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(rich_help_panel="Upkeep")(transfer)


def transfer(
    source: Annotated[str, typer.Option("--from", metavar="ADDRESS", help=f"Where they are: {Address}")],
    target: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Where they are to be.")],
    threads: Annotated[
        list[str] | None, typer.Option("--threads", metavar="ID", help="Only this thread; may be repeated.")
    ] = None,
    only: Annotated[
        Literal["checkpoints", "store"] | None, typer.Option(help="Only the one or the other.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be copied.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy all checkpoints and store items to another backend, oldest first, and read each back.

    What is there already and equal is passed over: after Ctrl-C, or an error, the same command goes on. Nothing
    is deleted at the source. Change the setting first, with the workers stopped; docs/transfer.md tells why.

    [dim]holdfast transfer --from sqlite:///checkpoints.db --to django[/dim]

    [dim]holdfast transfer --from django --to postgresql://archive.internal/old --threads user-7 --dry-run[/dim]
    """
    for option, address in (("--from", source), ("--to", target)):
        if address.startswith("memory:"):
            raise typer.BadParameter(
                "memory:// is each process's own; here is nothing in it", param_hint=option
            )
    ready()
    from holdfast.persistence.backends import close_backends
    from holdfast.persistence.backends.address import path_of
    from holdfast.runner import transfers

    # Opening makes the file: a mistyped path would be a transfer of nothing that ends well.
    if source.startswith("sqlite:") and not Path(path_of(source)).exists():
        raise typer.BadParameter(f"there is no file {path_of(source)}", param_hint="--from")

    errors = Console(stderr=True)  # so that a pipe gets the report only
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(
            "{task.completed:.0f} of {task.total:.0f} threads, {task.fields[done]} checkpoints and items"
        ),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )

    def show(report: Report, total: int) -> None:
        done = report.checkpoints + report.items + report.there
        bar.update(task, total=total, completed=report.threads, done=done)

    try:
        with bar:
            task = bar.add_task("checking" if dry_run else "copying", total=0, done=0)
            report = transfers.transfer(
                source,
                target,
                threads=threads,
                checkpoints=only != "store",
                store=only != "checkpoints",
                dry_run=dry_run,
                progress=show,
            )
    except KeyboardInterrupt:
        errors.print("stopped; the same command goes on from here", style="dim")
        raise
    finally:
        close_backends()
    if as_json:
        facts.dump(asdict(report))
        return
    out = display.console()
    counts = asdict(report)
    for name in ("there", "in_use", "times", "dry_run"):
        counts.pop(name)
    out.print(display.counts_table(counts, "would be copied" if dry_run else "copied"))
    if report.there:
        out.print(f"{report.there} checkpoints and items were there already", style="dim")
    if report.items and not report.times:
        tense = "would be" if dry_run else "are"
        out.print(
            f"when items were made and changed {tense} not kept there: their times are of the copy",
            style="dim",
        )
    if report.in_use:
        out.print(
            f"{len(report.in_use)} threads are executed by a run, and are left for the next time", style="dim"
        )
