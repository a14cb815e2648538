"""``up`` and ``demo``: what runs on a bare machine, without any settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from holdfast.errors import ConfigurationError
from holdfast.persistence.embedded import home
from holdfast.runner import up as runner_up
from holdfast.runner.site.environment import SITE_SETTINGS
from holdfast.runner.supervisor import Supervisor

_COLOURS = {"worker": "cyan", "beat": "magenta", "web": "green", "flower": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for function in (up, demo):
        app.command(rich_help_panel="One machine")(function)


def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the web site.")] = 8000,
    flower_port: Annotated[int, typer.Option(min=1, max=65535, help="Of Flower.")] = 5555,
    concurrency: Annotated[int, typer.Option(min=1, help="Processes of the worker.")] = 2,
    flower: Annotated[bool, typer.Option("--flower/--no-flower", help="With or without Flower.")] = True,
    app: Annotated[str | None, typer.Option(help="Your Celery app, in a project of your own.")] = None,
    asgi: Annotated[str | None, typer.Option(help="Your ASGI application, in a project of your own.")] = None,
) -> None:
    """PostgreSQL, worker, beat, web and Flower in one terminal, until Ctrl-C.

    [dim]holdfast up --port 8080 --no-flower[/dim]
    """
    from rich.text import Text

    from holdfast.runner.management import display

    site = runner_up.Options(port=port, flower_port=flower_port, concurrency=concurrency, flower=flower)
    settings_module = os.environ.get("DJANGO_SETTINGS_MODULE", SITE_SETTINGS)
    if settings_module != SITE_SETTINGS and not (app and asgi):
        raise ConfigurationError(
            f"DJANGO_SETTINGS_MODULE is {settings_module}: name its parts too, with --app project.celery:app "
            "and --asgi project.asgi:application.",
            setting="DJANGO_SETTINGS_MODULE",
        )
    options = runner_up.Options(
        port=port,
        flower_port=flower_port,
        concurrency=concurrency,
        flower=flower,
        app=app or site.app,
        asgi=asgi or site.asgi,
    )
    out = display.console()

    def say(name: str, line: str) -> None:
        out.print(Text.assemble((f"{name:<9}", _COLOURS.get(name, "")), Text.from_ansi(line)), soft_wrap=True)

    runner_up.check(options)
    with runner_up.surroundings(home()) as around:
        say("postgres", around.database)
        runner_up.migrate(around)
        say("postgres", "tables are up to date")
        out.print(display.up_banner(options, around))
        Supervisor(runner_up.services(options, around), say).run()
        say("holdfast", "all stopped")


def demo(
    documents: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Folder of documents; by default Holdfast's own.",
        ),
    ] = None,
) -> None:
    """The whole story in a minute: a worker is killed, another goes on, you approve, nothing is paid twice.

    Exit code 1 if a finished node ran twice, or an effect happened other than once.
    """
    from holdfast.runner.management.demo import stage

    raise typer.Exit(stage.run(documents))
