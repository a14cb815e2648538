"""What a process has of memory, measured in one that has done nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable


def memory(what: str) -> float:
    """Megabytes of this process, by that line of its status."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what)) / 1024


def in_a_child(work: Callable[[], float]) -> float:
    """What the work returns in a forked process of its own."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        found: float = json.loads(answer.read())
        return found
