"""What a prune has deleted, or would delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneReport:
    """How many rows were deleted, or would have been. Two can be added."""

    threads: int = 0
    """Threads whose checkpoints, or whose last remains, were deleted altogether."""
    checkpoints: int = 0
    writes: int = 0
    blobs: int = 0
    runs: int = 0
    effects: int = 0
    entries: int = 0
    steps: int = 0
    cancel_requests: int = 0
    cache_entries: int = 0
    store_items: int = 0
    skipped: int = 0
    """Threads that were due, but in use: nothing of them was deleted, or not the whole."""
    dry_run: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        """For a log: ``deleted 3 threads, 12 checkpoints``; what is 0 is left out."""
        sorts = [f.name for f in fields(self) if f.name not in {"skipped", "dry_run"}]
        counts = [f"{number} {name.replace('_', ' ')}" for name in sorts if (number := getattr(self, name))]
        told = f"{'would delete' if self.dry_run else 'deleted'} {', '.join(counts) or 'nothing'}"
        return f"{told}; threads in use, left for the next time: {self.skipped}" if self.skipped else told

    def __add__(self, other: PruneReport) -> PruneReport:
        numbers = {
            f.name: getattr(self, f.name) + getattr(other, f.name)
            for f in fields(self)
            if f.name != "dry_run"
        }
        return PruneReport(**numbers, dry_run=self.dry_run)


Progress = Callable[[PruneReport], None]
