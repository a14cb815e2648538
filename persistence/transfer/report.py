"""What a transfer has done so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Report:
    """What was copied, or would have been, and what was there already."""

    threads: int = 0
    checkpoints: int = 0
    writes: int = 0
    """Pending writes of the copied checkpoints."""
    items: int = 0
    times: bool = True
    """Whether the target keeps when its items were made, changed and expire, as far as the source tells."""
    there: int = 0
    """Checkpoints and items that the target had already, and equal."""
    in_use: list[str] = field(default_factory=list)
    """Threads that a run executes at the moment: left for the next time."""
    dry_run: bool = False


Progress = Callable[[Report, int], None]
"""Called after each checkpoint and item with the report so far and the number of threads in all."""
