"""What was measured, as a table for people or as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of the table: the median of some values, with their extremes as the machine's noise."""

    part: str
    what: str
    unit: str
    values: Sequence[float]
    target: str = ""
    digits: int = 1
    median: float = field(init=False)
    low: float = field(init=False)
    high: float = field(init=False)

    def __post_init__(self) -> None:
        for name, value in (
            ("median", statistics.median(self.values)),
            ("low", min(self.values)),
            ("high", max(self.values)),
        ):
            object.__setattr__(self, name, value)


def as_json(heading: str, lines: Sequence[Line]) -> str:
    """Everything, each single value included."""
    return json.dumps({"machine": heading, "lines": [asdict(line) for line in lines]}, indent=2)


def as_table(heading: str, lines: Sequence[Line]) -> str:
    """One line a measurement; the lowest and highest value show how noisy the machine was."""
    cells = [("", "median", "unit", "min – max", "n", "target")]
    part = ""
    for line in lines:
        if line.part != part:
            part = line.part
            cells.append((part, "", "", "", "", ""))
        number = f"{{:.{line.digits}f}}".format
        noise = f"{number(line.low)} – {number(line.high)}"
        row = (f"  {line.what}", number(line.median), line.unit, noise, str(len(line.values)), line.target)
        cells.append(row)
    widths = [max(len(row[column]) for row in cells) for column in range(6)]
    rows = []
    for row in cells:
        texts = [
            row[column].rjust(widths[column]) if column in (1, 4) else row[column].ljust(widths[column])
            for column in range(6)
        ]
        rows.append("  ".join(texts).rstrip())
    return "\n".join([heading, "", *rows])
