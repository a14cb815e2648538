"""The command ``holdfast``: its entry point, and what becomes of errors.

A typed error is one line on stderr and exit code 1; a wrong argument is exit code 2; Ctrl-C is 130.
``--traceback`` shows where it came from. What a command does stands in the modules beside this one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn

from holdfast.errors import ConfigurationError, HoldfastError

SITE_SETTINGS = "holdfast.runner.site.settings"


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    traceback = "--traceback" in arguments
    if traceback:
        arguments.remove("--traceback")
    try:
        sys.exit(_run(arguments))
    except Exception as error:
        told = explain(error)
        if told is None or traceback:
            raise
        print(f"holdfast: {told}", file=sys.stderr)
        sys.exit(1)


def _run(arguments: list[str]) -> int:
    try:
        from holdfast.runner.management.cli import app
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich"}:
            raise
        raise ConfigurationError(
            "The command line is an extra: pip install 'holdfast[cli]'.", setting="extras"
        ) from error
    try:
        return int(app(args=arguments, prog_name="holdfast", standalone_mode=True) or 0)
    except SystemExit as end:
        return int(end.code or 0)
    except KeyboardInterrupt:
        return 130


def ready() -> None:
    """Set Django up under DJANGO_SETTINGS_MODULE, or as the reference site. Raises HoldfastError."""
    import django
    from django.apps import apps

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SITE_SETTINGS)
    if not apps.ready:
        _find_project()
        django.setup()


def _find_project() -> None:
    """Let a project's modules be found in the folder where the command is given, as Celery does.

    Raises ConfigurationError where the settings are not there either.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    module = os.environ["DJANGO_SETTINGS_MODULE"]
    try:
        found = find_spec(module)
    except ModuleNotFoundError as error:
        if not error.name or not f"{module}.".startswith(f"{error.name}."):
            raise  # of something that the project imports
        found = None
    if found is None:
        raise ConfigurationError(
            f"DJANGO_SETTINGS_MODULE is {module}, and there is no such module here: go to the project's folder, "
            "or say `manage.py holdfast`.",
            setting="DJANGO_SETTINGS_MODULE",
        )


def explain(error: BaseException) -> str | None:
    """One line that says what, where and how to mend it; None for what is a bug and wants a traceback."""
    from django.core.exceptions import ImproperlyConfigured

    from holdfast.persistence import trouble

    if isinstance(error, HoldfastError):
        return _one_line(error.message)
    if isinstance(error, ImproperlyConfigured):
        return _one_line(f"Django's settings are not usable: {error}")
    meaning = trouble.explain(error)
    return None if meaning is None else _one_line(meaning.message)


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()
