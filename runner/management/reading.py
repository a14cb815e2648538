"""Reads what people type: JSON from an argument, a file or stdin, and times. Raises typer.BadParameter."""

from __future__ import annotations

import json
import re
import shlex
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import typer

_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def read_json(text: str | None, *, hint: str, plain: str = "") -> Any:
    """The value of ``text``: JSON itself, ``@file`` or ``-`` for stdin; None stays None.

    ``plain``: the option that takes text as it is, where the command has one.
    """
    if text is None:
        return None
    source, body = "the text", text
    try:
        if text == "-":
            source = "stdin"
            body = sys.stdin.read()
        elif text.startswith("@"):
            source = text[1:]
            body = Path(source).read_text("utf-8")
    except (OSError, ValueError) as error:  # no file, no UTF-8, or a NUL in its name
        raise typer.BadParameter(f"cannot read {source}: {error}", param_hint=hint) from error
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        quoted = _as_text(text, plain) if body is text else ""
        raise typer.BadParameter(
            f"{source} is not JSON ({at}: {error.msg}){quoted}", param_hint=hint
        ) from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, 10,000 brackets
        raise typer.BadParameter(f"{source} is JSON beyond reading: {error}", param_hint=hint) from error


def _as_text(text: str, plain: str) -> str:
    if plain:
        return f"; for plain text: {plain} {shlex.quote(text)}"
    return f"; text stands in quotes inside the shell's: {shlex.quote(json.dumps(text, ensure_ascii=False))}"


def read_object(text: str | None, *, hint: str) -> dict[str, Any] | None:
    """The same, where only a JSON object will do."""
    value = read_json(text, hint=hint)
    if value is not None and not isinstance(value, dict):
        raise typer.BadParameter('must be a JSON object, like {"a": 1}', param_hint=hint)
    return value


def read_time(text: str | None, *, hint: str) -> datetime | timedelta | None:
    """``90``, ``90s``, ``10m``, ``2h`` or ``3d`` from now, or an ISO 8601 time with its zone."""
    if text is None:
        return None
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text):
        try:
            return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
        except OverflowError as error:
            raise typer.BadParameter(f"{text!r} is further away than any time", param_hint=hint) from error
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is neither a duration like 90s, 10m, 2h, 3d nor an ISO 8601 time", param_hint=hint
        ) from error
    if moment.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no time zone: add Z or +02:00", param_hint=hint)
    return moment


def read_id(text: str) -> UUID:
    """A run's id."""
    try:
        return UUID(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a run id (a UUID)", param_hint="ID") from error
