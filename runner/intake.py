"""What a worker takes off its queues: a message that nobody can execute is rejected, and stops nothing (P1).

Celery rejects a message whose body it cannot read, or whose task it does not know. With others that are broken or
forged it fails where it hands them over, and ends: nested 900 deep, without an id, a time limit that is no number (seen
with Celery 5.7, on any broker and for any task). The message stays, and ends each worker that takes it, until somebody
purges the queue. So each message is looked at before it is handed over. Nothing that Celery publishes is refused, and
what it rejects by itself is left to it.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from numbers import Real
from typing import Any, Final

from celery import bootsteps

logger = logging.getLogger("holdfast.worker")

_HEADROOM: Final = 200
"""So many levels less than can be pickled here are let pass: Celery pickles them on a deeper stack."""
_FLAT: Final = 1500
"""Bytes of a pickle in which there is no room for 500 levels."""
_SHOWN: Final = 100
"""Characters of an id that the log shows."""


class Intake(bootsteps.StartStopStep):
    """Stands before Celery's own handler of messages, in each of its event loops."""

    requires = ("celery.worker.consumer:Tasks",)

    def start(self, parent: Any) -> None:
        """Of the consumer, also after each reconnection."""
        make = type(parent).create_task_handler
        parent.create_task_handler = lambda *args, **options: _guarded(
            make(parent, *args, **options), parent.connection_errors
        )


def _guarded(hand_over: Callable[[Any], Any], connection_errors: Any) -> Callable[[Any], Any]:
    def take(message: Any) -> Any:
        if (why := flaw(message)) is None:
            return hand_over(message)
        logger.error("message %s is rejected: %s", _name(message), why)
        return message.reject_log_error(logger, connection_errors)

    return take


def flaw(message: Any) -> str | None:
    """What keeps a message from being handed over; None for one that Celery takes, or rejects by itself."""
    headers = message.headers
    if not isinstance(headers, dict):
        return None
    try:
        payload = message.payload
    except Exception:  # noqa: BLE001 - whatever a decoder raises, Celery has an answer to it
        return None
    if "task" in headers:
        found = _flaw_of_headers(headers) or _flaw_of_body(payload)
    elif isinstance(payload, dict) and "task" in payload:  # Celery's first protocol has them in the body
        found = _flaw_of_headers(payload)
    else:
        return None
    return found or _flaw_of_depth([headers, message.properties, payload])


def _flaw_of_headers(headers: Mapping[str, Any]) -> str | None:
    if not isinstance(headers["task"], Hashable):
        return "its task is no name"
    if "id" not in headers or not isinstance(headers["id"], Hashable):
        return "it has no id"
    for name in ("eta", "expires"):
        if not isinstance(headers.get(name), str | Real | datetime | None):
            return f"its {name} is no time"
    match headers.get("timelimit") or (None, None):
        case [Real() | None, Real() | None]:
            pass
        case _:
            return "its timelimit is no pair of numbers"
    stamps, stamped = headers.get("stamps") or {}, headers.get("stamped_headers") or []
    if not isinstance(stamps, Mapping) or not isinstance(stamped, list | tuple | set):
        return "its stamps are no stamps"
    if not all(isinstance(each, Hashable) for each in stamped):
        return "its stamps are no stamps"
    return None


def _flaw_of_body(payload: Any) -> str | None:
    match payload:
        case [list() | tuple(), Mapping(), Mapping() | None]:
            return None
        case {"args": _}:  # both protocols in one, which Celery takes
            return None
        case _:
            return "its body is not arguments, keyword arguments and options"


def _flaw_of_depth(value: Any) -> str | None:
    try:
        if len(pickle.dumps(value)) < _FLAT:
            return None
        for _ in range(_HEADROOM):
            value = [value]
        pickle.dumps(value)
    except RecursionError:
        return "it is nested too deep"
    return None


def _name(message: Any) -> str:
    payload = message.payload
    named = message.headers.get("id") or (payload.get("id") if isinstance(payload, dict) else None)
    return repr(named)[:_SHOWN] if isinstance(named, str) else f"without an id (tag {message.delivery_tag})"
