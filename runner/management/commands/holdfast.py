"""``manage.py holdfast …``: the same command, inside a project's own settings."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from holdfast.runner.management.command import main


class Command(BaseCommand):
    """Hands its arguments over as they are."""

    help = "Runs of LangGraph graphs: enqueue, watch, answer, cancel, retry, prune, doctor."
    requires_system_checks: list[str] = []

    def run_from_argv(self, argv: list[str]) -> None:
        main(argv[2:])

    def handle(self, *args: Any, **options: Any) -> None:
        """``call_command("holdfast", "prune", "--dry-run")``. Leaves with SystemExit, as a command does."""
        main([str(argument) for argument in args])

    def add_arguments(self, parser: Any) -> None:
        """Everything after the name belongs to the command."""
        parser.add_argument("args", nargs="*")
