"""``prune``, ``store-index`` and ``doctor``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast.runner.management import type_report
from holdfast.runner.management.arguments import AsJson
from holdfast.runner.management.bootstrap import ready


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for function in (prune, store_index, doctor):
        app.command(rich_help_panel="Upkeep")(function)


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete what HOLDFAST['RETENTION'] no longer keeps, as the nightly beat entry does.

    [dim]holdfast prune --dry-run[/dim]
    """
    ready()
    from holdfast.graphs import registry
    from holdfast.persistence import retention
    from holdfast.runner.management import display, facts

    report = retention.prune(dry_run=dry_run, cache_versions=registry.cache_versions())
    counts: dict[str, Any] = facts.plain(report)
    if as_json:
        facts.dump(counts)
    else:
        out = display.console()
        deleted = {name: count for name, count in counts.items() if name not in {"skipped", "dry_run"}}
        out.print(display.counts_table(deleted, "would be deleted" if dry_run else "deleted"))
        if report.skipped:
            out.print(f"threads in use, left for the next time: {report.skipped}", style="dim")


def store_index(
    as_sql: Annotated[
        bool, typer.Option("--sql", help="Only print the statements, for whoever may execute them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the tables of HOLDFAST['STORE_INDEX'], the store's search by meaning, where they are missing.

    A store does it by itself at its first use, if its role may make extensions and tables.

    [dim]holdfast store-index --sql[/dim]
    """
    ready()
    from holdfast.conf import settings
    from holdfast.errors import ConfigurationError
    from holdfast.persistence.store import tables

    meaning = tables.meaning(settings().STORE_INDEX)
    if meaning is None:
        raise ConfigurationError(
            "HOLDFAST['STORE_INDEX'] is not set: the store has no index.", setting="STORE_INDEX"
        )
    if as_sql:
        print(meaning.tables.sql(), end="")
        return
    version = meaning.tables.version(settings().DATABASE)
    look = meaning.tables.look(settings().DATABASE)
    if as_json:
        from holdfast.runner.management import facts

        facts.dump({"pgvector": version, "type": look.type, "dims": look.dims, "method": look.method})
        return
    print(f"pgvector {version}: {look.type}({look.dims}), {look.method or 'no index'}")


def doctor(
    as_json: AsJson = False,
    types: Annotated[
        bool,
        typer.Option("--types", help="Instead, read all stored values and list their types (P12)."),
    ] = False,
) -> None:
    """Look at everything a run needs, and say how to mend it. Exit code 1 if something is wrong.

    [dim]holdfast doctor[/dim]   [dim]holdfast doctor --types[/dim]
    """
    ready()
    if types:
        raise typer.Exit(type_report.tell(as_json))
    from holdfast.runner.management import display, facts
    from holdfast.runner.management.doctor import examine

    if as_json:
        findings = list(examine())
        facts.dump(findings)
    else:
        out, findings = display.console(), []
        for finding in examine():
            findings.append(finding)
            out.print(display.finding_line(finding.part, finding.verdict, finding.detail, finding.mend))
    if any(finding.verdict == "wrong" for finding in findings):
        raise typer.Exit(1)
