"""How much a thread's checkpoints take, and how long its newest one takes to read: for ``show`` and the admin."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from django.db import connections

from holdfast.conf import settings
from holdfast.persistence.sql import query

SHOWN: Final = 5
"""Channels that are told one by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """One channel of the newest checkpoint."""

    name: str
    bytes: int
    """Of its encoded value, before PostgreSQL compresses it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ThreadSize:
    """What a thread's checkpoints take."""

    checkpoints: int
    bytes: int
    """Of all of them, with values and pending writes, as they are stored."""
    newest_bytes: int
    """Of the newest root checkpoint's values, before PostgreSQL compresses them."""
    read_seconds: float
    """How long the statement took that reads the newest root checkpoint."""
    channels: tuple[Channel, ...]
    """The largest channels of the newest root checkpoint."""
    large: tuple[str, ...]
    """Channels of it that are larger than ``HOLDFAST["LARGE_CHANNEL"]``."""


def size_of(thread_id: str, using: str | None = None) -> ThreadSize:
    """Look now, on Django's own connection. Raises django.db.Error."""
    where = {"thread_id": thread_id}
    with connections[using or settings().DATABASE].cursor() as cursor:
        cursor.execute(query("size_of_thread"), where)
        checkpoints, stored = cursor.fetchone()
        cursor.execute(query("size_of_channels"), where)
        channels = [Channel(name=name, bytes=size) for name, size in cursor.fetchall()]
        began = time.perf_counter()
        cursor.execute(query("saver_get"), where | {"checkpoint_ns": "", "checkpoint_id": None})
        cursor.fetchall()
        took = time.perf_counter() - began
    return ThreadSize(
        checkpoints=checkpoints,
        bytes=int(stored),
        newest_bytes=sum(channel.bytes for channel in channels),
        read_seconds=took,
        channels=tuple(channels[:SHOWN]),
        large=tuple(each.name for each in channels if each.bytes > settings().LARGE_CHANNEL),
    )
