"""The ids of runs, threads and leases, as types of their own, and where new ones come from."""

from __future__ import annotations

import os
import time
import unicodedata
from typing import NewType
from uuid import UUID, uuid4

from holdfast.errors import InvalidInputError

RunId = NewType("RunId", UUID)
ThreadId = NewType("ThreadId", str)
Token = NewType("Token", UUID)

MAX_THREAD_ID = 255  # characters
MAX_CHECKPOINT_ID = 255


def new_run_id() -> RunId:
    """A UUID version 7 whose 12 bits after the milliseconds are their fraction (RFC 9562, 6.2, method 3)."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000
    random = int.from_bytes(os.urandom(8), "big") >> 2
    return RunId(UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random))


def new_token() -> Token:
    """A fencing token: random, never a counter (R1)."""
    return Token(uuid4())


def thread_id_text(value: object) -> str:
    """A thread id as a LangGraph config may have it: anything's text, as stock savers take it.

    Without one all that forgot it would share a thread. Raises InvalidInputError.
    """
    if value is None:
        raise InvalidInputError(
            'A checkpoint belongs to a thread: give its id, as {"configurable": {"thread_id": "…"}}.',
            field="config.configurable.thread_id",
        )
    text = str(value)
    if "\0" in text:
        raise InvalidInputError("A thread id has no NUL character.", field="config.configurable.thread_id")
    return text


def parse_run_id(value: object) -> RunId:
    """A run id from what a user gave. Raises InvalidInputError."""
    if isinstance(value, UUID):
        return RunId(value)
    try:
        return RunId(UUID(str(value)))
    except ValueError:
        raise InvalidInputError(
            f"{str(value)[:80]!r} is no run id: it is a UUID, as shown by `holdfast runs`.", field="run_id"
        ) from None


def parse_thread_id(value: object) -> ThreadId:
    """A thread id from what a user gave: 1 to 255 characters, none of them a control character.

    Raises InvalidInputError.
    """
    return ThreadId(_text("thread", value, MAX_THREAD_ID))


def parse_checkpoint_id(value: object) -> str:
    """A checkpoint's id from what a user gave, in the same form. Raises InvalidInputError."""
    return _text("checkpoint", value, MAX_CHECKPOINT_ID)


def _text(kind: str, value: object, longest: int) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"A {kind} id is a str, not {type(value).__name__}.", field=f"{kind}_id")
    if not 0 < len(value) <= longest:
        raise InvalidInputError(
            f"A {kind} id has 1 to {longest} characters, this one has {len(value)}.", field=f"{kind}_id"
        )
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        raise InvalidInputError(
            f"A {kind} id has no control characters and no lone surrogates.", field=f"{kind}_id"
        )
    return value
