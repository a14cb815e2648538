"""The versions of channels, in upstream's form: texts that sort as their numbers do."""

from __future__ import annotations

import random


def next_version(current: str | int | None) -> str:
    """A version that sorts after ``current`` as text."""
    number = 0 if current is None else int(str(current).partition(".")[0])
    return f"{number + 1:032}.{random.random():016}"  # noqa: S311 - only tells forks apart
