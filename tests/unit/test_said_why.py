"""Whatever silences a checker, catches everything or only lets time pass says why, on its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path
    for place in ("graphs", "persistence", "runner", "bench", "tests")
    for path in sorted((ROOT / place).rglob("*.py"))
    if path != Path(__file__)
] + sorted((ROOT / "holdfast").glob("*.py"))

MUTE = {
    "a rule of ruff is silenced": r"# noqa(?!: [A-Z]+\d+(, [A-Z]+\d+)* - \w)",
    "mypy is silenced": r"# type: ignore(?!\[[a-z, -]+\]  # \w)",
    "everything is caught": r"^\s*except (Base)?Exception\b[^#]*$",
    "time passes": r"\b(time|asyncio)\.sleep\([^#]*$",
}


@pytest.mark.parametrize("what", MUTE)
def test_the_reason_stands_on_the_line(what: str) -> None:
    mute = re.compile(MUTE[what])
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if mute.search(line)
    ]
    assert found == []


def test_no_suppression_is_left_where_no_type_checker_reads() -> None:
    left = [
        str(path)
        for path in SOURCES
        if path.is_relative_to(ROOT / "tests") and "# type: " in path.read_text("utf-8")
    ]
    assert left == []
