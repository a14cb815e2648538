"""What the example graphs ``long_steps…`` say of their executions: how often each step began and ended, and where."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from holdfast.graphs.examples.long_steps import read_log

Sibling = tuple[int, int]
"""A step and the index of one of its parallel siblings, both from 0."""


class ExecutionLog:
    """The file; give ``str(log)`` as the graph's ``log``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def lines(self) -> list[tuple[str, int, int, int]]:
        """(``begin`` or ``end``, step, sibling, process id) so far; empty before the first."""
        return read_log(self.path) if self.path.exists() else []

    def begun(self) -> Counter[Sibling]:
        """How often each sibling of each step began."""
        return Counter((step, index) for what, step, index, _ in self.lines() if what == "begin")

    def ended(self) -> Counter[Sibling]:
        """How often each sibling of each step came to its end."""
        return Counter((step, index) for what, step, index, _ in self.lines() if what == "end")

    def repeated(self) -> list[Sibling]:
        """What began again after it had ended: never anything whose writes were committed (P3)."""
        seen: set[Sibling] = set()
        again = []
        for what, step, index, _ in self.lines():
            if what == "end":
                seen.add((step, index))
            elif (step, index) in seen:
                again.append((step, index))
        return again

    def pids(self) -> list[int]:
        """The processes that executed something, in the order of their first line."""
        return list(dict.fromkeys(pid for *_, pid in self.lines()))

    def in_flight(self) -> dict[Sibling, int]:
        """What began and has not ended, with the process id of its latest beginning."""
        open_: dict[Sibling, int] = {}
        for what, step, index, pid in self.lines():
            if what == "begin":
                open_[step, index] = pid
            else:
                open_.pop((step, index), None)
        return open_
