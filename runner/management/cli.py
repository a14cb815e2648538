"""The Typer application: its groups of commands, its help, and nothing that needs Django."""

from __future__ import annotations

import typer

from holdfast.runner.management import local_commands, run_commands, upkeep_commands

app = typer.Typer(
    name="holdfast",
    help="LangGraph runs as Celery jobs that outlive whatever runs them.",
    epilog="Every command prints --json for scripts where it says so, honours NO_COLOR, and with "
    "--traceback shows where an error came from. Settings: DJANGO_SETTINGS_MODULE, by default the "
    "reference site, which reads DATABASE_URL and BROKER_URL.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (local_commands, run_commands, upkeep_commands):
    group.register(app)
