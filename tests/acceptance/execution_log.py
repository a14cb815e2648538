"""Reads what the example graph ``long_steps`` writes: one line for every step that was executed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class ExecutionLog:
    """The file; give ``str(log)`` as the graph's ``log``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The lines so far, oldest first; one that is still being written is left out."""
        if not self.path.exists():
            return
        for line in self.path.read_text("utf-8").split("\n")[:-1]:
            yield json.loads(line)

    def counts(self, *fields: str) -> Counter[Any]:
        """How often each value (a tuple, for several fields) of ``fields`` stands in the log."""
        if len(fields) == 1:
            return Counter(entry.get(fields[0]) for entry in self)
        return Counter(tuple(entry.get(field) for field in fields) for entry in self)
