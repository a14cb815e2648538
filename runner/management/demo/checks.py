"""What ``holdfast demo`` checks of what it showed: no node twice, each effect once, the cache used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:  # this module is read before Django is ready
    from holdfast.persistence.models import Effect
    from holdfast.persistence.records import Run, StepRecord

KILLED: Final = 1
"""The delivery whose worker was killed."""


class Check(NamedTuple):
    """One statement: whether it holds, how it reads, and what was found where it does not."""

    holds: bool
    claim: str
    found: str


def of_steps(steps: Sequence[StepRecord], stored: set[str]) -> Iterator[Check]:
    """``stored``: the tasks whose summaries were in the database at the kill."""
    done = stored | {step.task_id for step in steps if step.outcome == "done" and step.delivery == KILLED}
    twice = {step.node for step in steps if step.task_id in done and step.delivery > KILLED}
    yield Check(not twice, "no finished node ran twice", f"ran again: {', '.join(sorted(twice))}")
    yield Check(bool(stored), _outlived(steps, stored), "no summary was stored before it")
    deliveries = {step.delivery for step in steps}
    yield Check(len(deliveries) > 1, "two deliveries shared the work", f"deliveries: {deliveries}")


def _outlived(steps: Sequence[StepRecord], stored: set[str]) -> str:
    claim = f"{len(stored)} summaries outlived the kill"
    told = {step.task_id for step in steps if step.outcome == "done" and step.delivery == KILLED}
    if silent := stored - told:  # a process that dies loses the timeline's lines of its last moments
        claim += f", of which the timeline misses {len(silent)}: their lines died with the worker"
    return claim


def of_effects(run: Run, effects: Sequence[Effect]) -> Iterator[Check]:
    """The file, the row, and the ledger."""
    from holdfast.graphs.examples.models import Publication

    result = run.result or {}
    path = Path(str(result.get("path", "")))
    same = path.is_file() and path.read_text("utf-8") == str(result.get("body", ""))
    yield Check(same, f"one file: {path}", "missing, or not the digest")
    rows = Publication.objects.filter(path=str(path)).count()
    yield Check(rows == 1, "one row in the database", f"{rows} rows")
    done = sorted(effect.function for effect in effects if effect.state == "done" and effect.attempts == 1)
    yield Check(len(done) == len(effects) == 2, "each effect happened once", f"effects: {done}")


def of_cache(steps: Sequence[StepRecord]) -> Iterator[Check]:
    """The second run's summaries."""
    summaries = [step.outcome == "cached" for step in steps if step.node == "summarise"]
    paid = summaries.count(False)
    yield Check(
        bool(summaries) and not paid, "every summary of the second run was cached", f"{paid} were not"
    )
