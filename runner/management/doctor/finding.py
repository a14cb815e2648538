"""What a look at one part has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "wrong", "skipped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one look found."""

    part: str
    verdict: Verdict
    detail: str
    mend: str = ""
