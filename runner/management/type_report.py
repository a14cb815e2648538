"""``doctor --types``: the types in the database, and which of them would not be loaded."""

from __future__ import annotations


def tell(as_json: bool) -> int:
    """Print them; the exit code: 1 if values would not be loaded."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    from holdfast.persistence import stored_types
    from holdfast.runner.management import display, facts

    console = Console(stderr=True)
    columns = (TextColumn("{task.completed} values read"),)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        found = stored_types.survey(lambda count: bar.update(task, completed=count))
    refused = [each for each in found if each.refused]
    if as_json:
        facts.dump(found)
        return bool(refused)
    out = display.console()
    table = display.table("type", "values", "loaded", "found in")
    table.columns[1].justify = "right"
    for name in (table.columns[0], table.columns[3]):
        name.overflow = "fold"  # a type is here to be copied, whole, into a setting
    for each in found:
        loaded = each.allowed or f"NOT for {', '.join(each.refused)}"
        table.add_row(each.name, str(each.values), loaded, ", ".join(each.places))
    out.print(table)
    if not found:
        out.print(display.checked("ok", "there are only plain values"))
    elif refused:
        out.print(
            "Name a type in the graph's schema or in HOLDFAST['SERIALIZABLE'] to have it loaded; what is pickled "
            "never is (docs/codec.md). A dash: no run of ours wrote it, and the graph that reads it counts."
        )
    return bool(refused)
