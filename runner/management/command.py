"""The command ``holdfast``: its entry point, and what becomes of errors.

A typed error is one line on stderr and exit code 1; a wrong argument is exit code 2; Ctrl-C is 130.
``--traceback`` shows where it came from. What a command does stands in the modules beside this one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from holdfast.errors import ConfigurationError
from holdfast.runner.management.errors import explain


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    traceback = "--traceback" in arguments
    if traceback:
        arguments.remove("--traceback")
    try:
        sys.exit(_run(arguments))
    except Exception as error:  # the end of the program: one line for what is known, the rest goes on
        told = explain(error)
        if told is None or traceback:
            raise
        print(f"holdfast: {told}", file=sys.stderr)
        sys.exit(1)


def _run(arguments: list[str]) -> int:
    try:
        import typer.rich_utils

        from holdfast.runner.management.cli import app
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich"}:
            raise
        raise ConfigurationError(
            "The command line is an extra: pip install 'holdfast[cli]'.", setting="extras"
        ) from error
    if os.environ.get("NO_COLOR"):
        typer.rich_utils.COLOR_SYSTEM = None  # help and usage errors too: neither bold nor dim
    usage_error: Any = typer.BadParameter.__mro__[1]  # UsageError, which Typer does not export
    try:
        return int(app(args=arguments, prog_name="holdfast", standalone_mode=False) or 0)
    except SystemExit as end:
        return int(end.code or 0)
    except KeyboardInterrupt:
        return 130
    except usage_error as error:
        if error.format_message():  # nothing to say where the help was shown, since there was no command
            print(_wrong_use(error, hint=type(error) is not typer.BadParameter), file=sys.stderr)
        return 2


def _wrong_use(error: Any, *, hint: bool) -> str:
    """One line, whose hints can be copied: Typer's own frame folds them. ``hint``: with the command's usage."""
    context = error.ctx
    told = f"{context.command_path if context else 'holdfast'}: {error.format_message()}"
    return " ".join((f"{told} {context.get_usage()}" if hint and context else told).split())


if __name__ == "__main__":
    main()
