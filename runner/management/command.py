"""The command ``holdfast``: its entry point, and what becomes of errors.

A typed error is one line on stderr and exit code 1; a wrong argument is exit code 2; Ctrl-C is 130.
``--traceback`` shows where it came from. What a command does stands in the modules beside this one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from holdfast.errors import ConfigurationError, DatabaseUnreachableError, HoldfastError, NotMigratedError

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
        django.setup()


def explain(error: BaseException) -> str | None:
    """One line that says what, where and how to mend it; None for what is a bug and wants a traceback."""
    from django.core.exceptions import ImproperlyConfigured
    from django.db import OperationalError, ProgrammingError
    from psycopg import OperationalError as DirectOperationalError  # of connections that are not Django's

    if isinstance(error, HoldfastError):
        return _one_line(error.message)
    if isinstance(error, OperationalError | DirectOperationalError):
        return _one_line(database_unreachable(error).message)
    if isinstance(error, ProgrammingError) and _is_missing_table(error):
        return _one_line(not_migrated().message)
    if isinstance(error, ImproperlyConfigured):
        return _one_line(f"Django's settings are not usable: {error}")
    return None


def database_unreachable(error: Exception) -> DatabaseUnreachableError:
    """What a failed connection means to a person."""
    from django.db import connections

    from holdfast.conf import settings

    alias = settings().DATABASE
    where = connections[alias].settings_dict
    address = f"{where['NAME']} on {where['HOST'] or 'the local socket'}:{where['PORT'] or 5432}"
    return DatabaseUnreachableError(
        f"The database {address} does not answer ({_one_line(str(error))}). "
        "Check DATABASE_URL and that the server runs.",
        alias=alias,
    )


def not_migrated() -> NotMigratedError:
    """What a missing table means to a person."""
    from holdfast.conf import settings

    return NotMigratedError(
        "The database has no Holdfast tables, or older ones. Run `manage.py migrate` "
        "(`django-admin migrate` under your DJANGO_SETTINGS_MODULE).",
        alias=settings().DATABASE,
    )


def _is_missing_table(error: Exception) -> bool:
    # Django's error wraps psycopg's. 42P01 undefined table, 42703 undefined column, 42883 undefined function
    return getattr(error.__cause__, "sqlstate", None) in {"42P01", "42703", "42883"}


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()
