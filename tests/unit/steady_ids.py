"""Names for parameters that each process which shares the suite gives alike."""

from __future__ import annotations

import re


def steady(value: object) -> str:
    """The value as text, without the address that an object without a text of its own shows."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))
