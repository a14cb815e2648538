"""What a measure is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.lanes import Lanes


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Lanes to use, how many runs, and whom to tell of the progress."""

    lanes: Lanes
    runs: int
    tell: Callable[[str], None]
