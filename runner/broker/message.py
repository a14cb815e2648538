"""A message as the table has it, and as kombu has it. What cannot be read is told from whatever else may fail."""

from __future__ import annotations

from typing import Any, Final

from kombu.transport import virtual
from kombu.utils.json import loads

from holdfast.runner.broker.errors import UnreadableMessageError
from holdfast.runner.broker.link import Taken

_UNREADABLE: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What decoding raises for the sake of what is decoded, and not of the process or its connections."""


class Message(virtual.Message):
    """kombu's, which raises UnreadableMessageError where its body cannot be decoded."""

    def __init__(self, payload: Any, channel: Any = None, **kwargs: Any) -> None:
        try:
            super().__init__(payload, channel=channel, **kwargs)
            if not isinstance(self.body, bytes | str | None):
                raise TypeError("its body is no text")
        except _UNREADABLE as error:
            raise UnreadableMessageError(_told(error)) from error


def decoded(taken: Taken) -> dict[str, Any]:
    """kombu's raw message, with the row's id as its tag. Raises UnreadableMessageError."""
    tag, _, payload, redelivered = taken
    try:
        message: dict[str, Any] = loads(payload)
        message["properties"]["delivery_tag"] = tag
        message["properties"]["delivery_info"]["redelivered"] = redelivered
        message["redelivered"] = redelivered
    except _UNREADABLE as error:
        raise UnreadableMessageError(_told(error)) from error
    return message


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
