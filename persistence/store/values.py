"""The one place where an item's value becomes what the column ``value`` holds, and again a value.

The column is upstream's jsonb, which stock ``PostgresStore`` reads, so a value is what JSON can hold; nothing
else is stored in a form that would come back as something else. (A tuple comes back as a list.) Where
``HOLDFAST["ENCRYPTION"]`` has an active key, all of it is sealed, and bound to its namespace and key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from holdfast.errors import InvalidInputError, NotSerializableError
from holdfast.persistence.encryption import Keyring, bindings, inline
from holdfast.persistence.encryption.inline import SEALED, open_json, seal_json
from holdfast.persistence.jsonb import is_storable

_DEPTH = 500
"""Levels of lists and dicts in one value; the server's own limit is higher, Python's recursion's is not."""


def seal(value: Mapping[str, Any], prefix: str, key: str, ring: Keyring) -> str:
    """The text of the column, for the item of that namespace (as the table has it) and key.

    Raises NotSerializableError, which names the place.
    """
    field = f"item {key!r}"
    if not isinstance(value, Mapping):
        raise InvalidInputError(
            f"{field}: an item's value is a dict, not a {type(value).__name__}.", field=field
        )
    plain = json_text(dict(value), field)
    if not ring.encrypts and SEALED not in value:
        return plain
    return json.dumps(seal_json(json.loads(plain), bindings.item(prefix, key), ring))


def unseal(text: str, prefix: str, key: str) -> dict[str, Any]:
    """What ``seal`` was given. Raises DecryptionError."""
    value: dict[str, Any] = json.loads(text)
    return open_json(value, bindings.item(prefix, key)) if SEALED in value else value


def is_sealed(text: str) -> bool:
    """Whether the column's text is that of an encrypted value."""
    return text.startswith('{"' + SEALED) and inline.is_sealed(json.loads(text))


def json_text(value: Any, field: str) -> str:
    """The value as JSON that jsonb holds exactly. Raises NotSerializableError."""
    for path, culprit, reason in _unstorable(value, field, 0):
        kind = f"{type(culprit).__module__}.{type(culprit).__qualname__}"
        raise NotSerializableError(
            f"{path}: {reason} The store holds plain JSON: texts, numbers, booleans, None, lists, and dicts with texts as keys.",
            field=field,
            path=path,
            type=kind,
        )
    return json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)


def _unstorable(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any, str]]:
    if isinstance(value, Enum):
        yield path, value, f"a {type(value).__qualname__} would come back as its plain value."
    elif isinstance(value, str):
        if not is_storable(value):
            yield path, value, "the text has a NUL or half a surrogate pair, which PostgreSQL does not store."
    elif isinstance(value, float):
        if value - value != 0:
            yield path, value, f"{value} is no number in JSON."
    elif value is None or isinstance(value, int):
        return
    elif depth > _DEPTH:
        yield path, value, f"it is nested more than {_DEPTH} levels deep, or contains itself."
    elif isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str) or isinstance(key, Enum):
                yield path, key, f"the key {key!r} would come back as a text."
            yield from _unstorable(key, f"{path} key {key!r}", depth)
            yield from _unstorable(part, f'{path}["{key}"]', depth + 1)
    elif isinstance(value, (list, tuple)):
        if hasattr(value, "_asdict"):
            yield path, value, f"a {type(value).__qualname__} would come back as a plain list."
        for index, part in enumerate(value):
            yield from _unstorable(part, f"{path}[{index}]", depth + 1)
    else:
        yield path, value, f"a {type(value).__module__}.{type(value).__qualname__} cannot be stored."
