"""Turns what a run stored into text for a page. Nothing here trusts the value.

Bytes are decoded by the strict codec only (P12); what it refuses, or what cannot be read at all,
becomes the text of the error. Text is cut at a stated length. Whoever puts it on a page escapes it.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from holdfast.errors import HoldfastError
from holdfast.persistence import codec
from holdfast.persistence.codec import Key

MAX_TEXT = 20_000  # characters of one value on a page
MAX_BYTES = 1_000_000  # bytes of a stored value that is decoded at all
MAX_ITEMS = 200  # entries of one container
MAX_STRING = 4_000  # characters of one string
MAX_DEPTH = 12  # levels of nesting

Allowed = Iterable[Key]


def stored(type_: str | None, data: bytes | memoryview | None, *, allowed: Allowed = ()) -> SafeString:
    """A stored value as escaped, preformatted HTML; a dash where none is stored."""
    if type_ in {None, "null"} and not data:
        return empty()
    size = 0 if data is None else len(data)
    if size > MAX_BYTES:
        return note(f"{size:,} bytes of type {type_}: too large to be shown here.")
    try:
        return block(text(codec.loads(type_, data, extra=allowed)))
    except Exception as error:  # noqa: BLE001 - damaged or foreign bytes raise anything, and the page is for looking at them
        return note(f"{type(error).__name__}: {error}")


def opened(read: Callable[[], object]) -> SafeString:
    """What ``read`` gives, as a block; a dash where it is nothing, a note where it cannot be read."""
    try:
        value = read()
    except HoldfastError as error:
        return note(error.message)
    return block(text(value)) if value else empty()


def block(content: str) -> SafeString:
    """Preformatted text, escaped."""
    return format_html('<pre class="holdfast-value">{}</pre>', content)


def note(content: str) -> SafeString:
    """A remark in place of a value, escaped and cut."""
    return format_html('<p class="holdfast-note">{}</p>', cut(content, 2_000))


def empty() -> SafeString:
    """What stands where there is nothing."""
    return format_html('<span class="holdfast-empty">{}</span>', "—")


def text(value: object) -> str:
    """Any decoded value as indented JSON, or as itself if it is a string; cut at MAX_TEXT."""
    shown = value if isinstance(value, str) else json.dumps(plain(value), indent=2, ensure_ascii=False)
    return cut(shown, MAX_TEXT)


def cut(content: str, limit: int) -> str:
    """At most ``limit`` characters, followed by how many are missing."""
    if len(content) <= limit:
        return content
    return f"{content[:limit]}… ({len(content) - limit:,} more characters)"


def plain(value: object, depth: int = 0) -> Any:
    """The value as JSON knows it: containers kept, models and dataclasses as objects, the rest as text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return cut(value, MAX_STRING)
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        return f"{len(data):,} bytes: {base64.b64encode(data[:60]).decode()}{'…' if len(data) > 60 else ''}"
    if depth >= MAX_DEPTH:
        return "… (nested deeper)"
    fields = _fields(value)
    if fields is not None:
        return {type(value).__name__: _mapping(fields, depth + 1)}
    if isinstance(value, Mapping):
        return _mapping(value, depth)
    if isinstance(value, list | tuple | set | frozenset):
        items = list(value)
        shown = [plain(item, depth + 1) for item in items[:MAX_ITEMS]]
        return [*shown, f"… ({len(items) - MAX_ITEMS:,} more)"] if len(items) > MAX_ITEMS else shown
    return cut(str(value), MAX_STRING)


def _mapping(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    items = list(value.items())
    shown = {cut(str(key), 200): plain(item, depth + 1) for key, item in items[:MAX_ITEMS]}
    if len(items) > MAX_ITEMS:
        shown["…"] = f"{len(items) - MAX_ITEMS:,} more"
    return shown


def _fields(value: object) -> Mapping[str, Any] | None:
    """The fields of a dataclass or pydantic model that differ from nothing; None for other values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    names = getattr(type(value), "model_fields", None)
    if isinstance(names, Mapping):
        found = {name: getattr(value, name, None) for name in names}
        return {name: item for name, item in found.items() if item not in (None, "", [], {})}
    return None
