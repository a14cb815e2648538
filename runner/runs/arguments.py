"""Single arguments of ``enqueue``, each looked at by itself (P11)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast.errors import InvalidInputError
from holdfast.persistence.jsonb import storable
from holdfast.persistence.models.runs import RunStatus

When = datetime | timedelta | float | None

MAX_DELAY = 10 * 365 * 86400.0  # seconds; further away is a mistake
RESERVED = ("thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map", "run_id")


def moment(field_name: str, value: When) -> tuple[float | None, datetime | None]:
    """A delay in seconds, or a moment; exactly one of them. Raises InvalidInputError."""
    if value is None:
        return 0.0, None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidInputError(
                f"{field_name} needs a time zone: use an aware datetime.", field=field_name
            )
        if not 2000 <= value.year <= 2200:
            raise InvalidInputError(f"{field_name} is in the year {value.year}.", field=field_name)
        return None, value
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(
            f"{field_name} is a datetime, a timedelta or seconds, not {type(value).__name__}.",
            field=field_name,
        )
    if not 0 <= value <= MAX_DELAY:  # NaN fails too
        raise InvalidInputError(
            f"{field_name} is {value} seconds; it must lie between 0 and ten years.", field=field_name
        )
    return float(value), None


def refuse_past_deadline(
    delay: float | None, due_at: datetime | None, deadline_delay: float | None, deadline_at: datetime | None
) -> None:
    """A deadline that no execution can meet is a mistake; this process's clock is good enough to see it.

    Raises InvalidInputError.
    """
    now = datetime.now(UTC)
    due = max(now, due_at) if due_at else now + timedelta(seconds=delay or 0.0)
    if (deadline_at or now + timedelta(seconds=deadline_delay or 0.0)) <= due:
        raise InvalidInputError(
            "deadline lies in the past, or not after run_after: the run could only fail.", field="deadline"
        )


_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # and lone surrogates, which have no UTF-8


def name(field_name: str, value: str | None, longest: int) -> str | None:
    """A queue's name or a key. Raises InvalidInputError."""
    if value is None:
        return None
    if type(value) is not str or not 0 < len(value) <= longest or _CONTROL.search(value):
        raise InvalidInputError(
            f"{field_name} is a str of 1 to {longest} characters without control characters.",
            field=field_name,
        )
    return value


def count(field_name: str, value: int) -> int:
    """How many of something at most. Raises InvalidInputError."""
    if type(value) is not int or value < 0:
        raise InvalidInputError(f"{field_name} is a whole number, zero or more.", field=field_name)
    return value


def status(value: str) -> str:
    """A run's status. Raises InvalidInputError."""
    if value not in RunStatus.values:
        raise InvalidInputError(
            f"status is one of {', '.join(RunStatus.values)}, not {value!r}.", field="status"
        )
    return value


def plain(field_name: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
    """JSON that the database can hold, with keys of str. Raises InvalidInputError."""
    if value is None:
        return {}
    try:
        _refuse_other_keys(value, field_name)
        text = json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{field_name} must be JSON: {error}.", field=field_name) from None
    found = dict(json.loads(text))
    if storable(found) != found:
        raise InvalidInputError(
            f"{field_name} contains a NUL character or a lone surrogate, which cannot be stored.",
            field=field_name,
        )
    return found


def _refuse_other_keys(value: Any, path: str) -> None:
    """JSON would make texts of numbers, so that nobody finds what was stored. Raises InvalidInputError."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidInputError(
                    f"{path} has the key {key!r}, a {type(key).__name__}; keys are str.", field=path
                )
            _refuse_other_keys(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _refuse_other_keys(item, f"{path}[{number}]")


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


_CONFIG_TYPES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("configurable", lambda value: isinstance(value, dict), "a mapping"),
    ("metadata", lambda value: isinstance(value, dict), "a mapping"),
    (
        "tags",
        lambda value: isinstance(value, list) and all(isinstance(tag, str) for tag in value),
        "a list of str",
    ),
    ("recursion_limit", _is_count, "a whole number from 1"),
    ("max_concurrency", _is_count, "a whole number from 1"),
)


def config(value: Mapping[str, Any] | None) -> dict[str, Any]:
    """What of LangChain's RunnableConfig a run may bring along. Raises InvalidInputError."""
    found = plain("config", value)
    if unknown := sorted(
        set(found) - {"configurable", "tags", "metadata", "recursion_limit", "max_concurrency"}
    ):
        raise InvalidInputError(
            f"config has no {unknown[0]!r}; it takes configurable, tags, metadata, recursion_limit and "
            "max_concurrency.",
            field=f"config.{unknown[0]}",
        )
    for key, fits, kind in _CONFIG_TYPES:
        if key in found and not fits(found[key]):
            raise InvalidInputError(f"config.{key} is {kind}.", field=f"config.{key}")
    for key in found.get("configurable", {}):
        if key in RESERVED or key.startswith("__"):
            raise InvalidInputError(
                f"config.configurable.{key} is set by Holdfast.", field=f"config.configurable.{key}"
            )
    return found
