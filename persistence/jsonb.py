"""What PostgreSQL's text and jsonb cannot hold, although Python's str can: NUL and lone surrogates."""

from __future__ import annotations

import re
from typing import Any, Final

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Whether the text has none of these characters."""
    return _UNSTORABLE.search(text) is None


def storable(value: Any) -> Any:
    """A JSON value with U+FFFD in place of each character that cannot be stored."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {storable(key): storable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [storable(part) for part in value]
    return value
