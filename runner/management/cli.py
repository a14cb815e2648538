"""The Typer application: its groups of commands, its help, and nothing that needs Django."""

from __future__ import annotations

from typing import Annotated

import typer

import holdfast
from holdfast.runner.management import (
    cache_command,
    graph_commands,
    key_commands,
    local_commands,
    run_commands,
    steering_commands,
    thread_commands,
    transfer_command,
    upkeep_commands,
)

app = typer.Typer(
    name="holdfast",
    help="LangGraph runs as Celery jobs that outlive whatever runs them.",
    epilog="Commands that have --json print it for scripts. All honour NO_COLOR, and with --traceback "
    "show where an error came from. Settings: DJANGO_SETTINGS_MODULE, by default the "
    "reference site, which reads DATABASE_URL and BROKER_URL.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"holdfast {holdfast.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """What goes before the command."""


for group in (
    local_commands,
    graph_commands,
    run_commands,
    steering_commands,
    thread_commands,
    upkeep_commands,
    cache_command,
    key_commands,
    transfer_command,
):
    group.register(app)
