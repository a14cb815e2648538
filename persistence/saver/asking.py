"""What the saver's calls ask for, and who performs it: each call is written once, for threads and for asyncio.

A call is a generator that yields what has to be waited for, an ``Ask`` (a statement) or a ``Wait`` (writes that
somebody else is storing), and receives the statement's rows. ``statements`` drives it, either in the calling
thread or in an asyncio task. Nothing here touches the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

from holdfast.persistence.saver.decoding import Row
from holdfast.persistence.saver.encoding import Params

T = TypeVar("T")


class Ask(NamedTuple):
    """A named statement, whose rows the call receives."""

    name: str
    params: Params
    prepare: bool | None = None
    """False: planned anew each time, knowing its parameters. None: prepared where sessions are not shared."""


Written = Future[None] | asyncio.Future[None]
"""Done when a task's writes are durable, or with the error. asyncio's are for the tasks of their loop only."""


class Wait(NamedTuple):
    """Until all of them are done; the first error is raised in the call."""

    stored: Sequence[Written]


Steps = Generator[Ask | Wait, Sequence[Row], T]
"""A call; ``return``s what the caller gets."""
