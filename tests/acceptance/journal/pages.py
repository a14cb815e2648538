"""Inputs for the graph ``journal``, and what they must leave behind."""

from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path
from typing import Any


def page(name: str, steps: int = 2, **more: Any) -> dict[str, Any]:
    """An input whose application leaves ``<name>>``. Every key is given, so that none is left of a run before."""
    defaults: dict[str, Any] = {"seconds": 0.0, "log": None, "gate": None, "gate_at": 0}
    defaults |= {"fail_unless": None, "ask_at": None}
    return {"name": name, "notes": [f"{name}>"], "steps": steps, **defaults, **more}


def notes(name: str, steps: int = 2, *, begin: int = 0) -> list[str]:
    """What the run appends when its input is applied once and each step counted once."""
    return [*([f"{name}>"] if begin == 0 else []), *(f"{name}.{step}" for step in range(begin, steps))]


class Gate:
    """A file that a step waits for."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"gate-{uuid.uuid4().hex}"

    def __str__(self) -> str:
        return str(self.path)

    def open(self) -> None:
        """Let the step go on."""
        self.path.touch()


class Log:
    """Which step was executed how often, and where."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"journal-{uuid.uuid4().hex}.log"

    def __str__(self) -> str:
        return str(self.path)

    def lines(self) -> list[tuple[str, int]]:
        """``<name>.<step>`` and process id of each execution so far."""
        if not self.path.exists():
            return []
        parts = [line.rpartition(" ") for line in self.path.read_text().splitlines()]
        return [(step, int(pid)) for step, _, pid in parts]

    def counts(self) -> Counter[str]:
        """How often each step was executed."""
        return Counter(step for step, _ in self.lines())
