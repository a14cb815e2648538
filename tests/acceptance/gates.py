"""Gates before which a graph waits until a test opens them: files, since the test is in another process.

A worker may be killed or stopped while it waits, and another one wait at the same gate: a pipe or a lock would be
lost with the first of them.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

LOOK = 0.01
"""Seconds between two looks."""


def wait_at(gate: str | Path) -> None:
    """Return once the file is there."""
    while not Path(gate).exists():
        time.sleep(LOOK)  # another process makes the file, no event tells of it


async def await_at(gate: str | Path) -> None:
    """The same on an event loop, which goes on meanwhile."""
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - another process makes the file, no event tells of it
        await asyncio.sleep(LOOK)  # as in wait_at
