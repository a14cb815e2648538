"""Seals what stands as JSON or text in a row: metadata, configs, errors, questions, the store's items.

While nothing is encrypted, values pass through as they are. A sealed JSON value is an object whose only key is
``holdfast_sealed``; of an object some entries may stay readable beside it; a sealed text begins with the word.
What a user wrote, and looks like one, is refused as JSON and marked as text, so that reading takes it for
nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from holdfast.errors import DecryptionError, NotSerializableError
from holdfast.persistence.encryption import Binding, Keyring, key_of, keyring

SEALED: Final = "holdfast_sealed"

_TAG: Final = "json"
_PREFIX: Final = f"{SEALED}:"


def seal_json(value: Any, binding: Binding, ring: Keyring | None = None) -> Any:
    """The JSON value to store: sealed under the active key, or as it is. Raises NotSerializableError."""
    ring = ring or keyring()
    if not ring.encrypts:
        if is_sealed(value):
            raise NotSerializableError(
                f"An object whose only key is {SEALED!r} is Holdfast's own form of an encrypted value, "
                "and cannot be stored.",
                field=SEALED,
                path=SEALED,
                type="dict",
            )
        return value
    return {SEALED: ring.sealed_text(_TAG, _dumped(value), binding)}


def open_json(value: Any, binding: Binding = (), ring: Keyring | None = None) -> Any:
    """What ``seal_json`` was given; a value that is not sealed, as it is. Raises DecryptionError."""
    if not is_sealed(value):
        return value
    return json.loads((ring or keyring()).opened_text(value[SEALED], binding))


def is_sealed(value: Any) -> bool:
    """Whether the JSON value has the form of a sealed one."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(SEALED), str)


def seal_rest(
    value: Mapping[str, Any], readable: Callable[[str], bool], binding: Binding, ring: Keyring | None = None
) -> dict[str, Any]:
    """The object to store: its readable entries as they are, all others sealed into one."""
    ring = ring or keyring()
    rest = {name: part for name, part in value.items() if not readable(name)}
    if not ring.encrypts or not rest:
        return dict(value)
    sealed: dict[str, Any] = seal_json(rest, binding, ring)
    return {name: part for name, part in value.items() if readable(name)} | sealed


def open_rest(value: Mapping[str, Any], binding: Binding = (), ring: Keyring | None = None) -> dict[str, Any]:
    """What ``seal_rest`` was given. Raises DecryptionError."""
    kept = dict(value)
    sealed = kept.pop(SEALED, None)
    if not isinstance(sealed, str):
        return dict(value)
    opened: dict[str, Any] = open_json({SEALED: sealed}, binding, ring)
    return kept | opened


def seal_text(text: str, binding: Binding, ring: Keyring | None = None) -> str:
    """The text to store: sealed under the active key, or as it is. An empty one stays empty."""
    ring = ring or keyring()
    if not text:
        return text
    if not ring.encrypts:
        return f" {text}" if text.startswith(_PREFIX) else text
    return _PREFIX + ring.sealed_text(_TAG, _dumped(text), binding)


def open_text(text: str, binding: Binding = (), ring: Keyring | None = None) -> str:
    """What ``seal_text`` was given. Raises DecryptionError."""
    if not text.startswith(_PREFIX):
        return text
    return str(json.loads((ring or keyring()).opened_text(text.removeprefix(_PREFIX), binding)))


def shown_text(text: str, binding: Binding = ()) -> str:
    """As ``open_text``, for people: where it cannot be opened, a remark that says why."""
    try:
        return open_text(text, binding)
    except DecryptionError as error:
        return f"({error.message})"


def key_of_json(value: Any) -> str | None:
    """The id of the key that a JSON value is sealed under; None: it is not sealed."""
    return key_of(value[SEALED].rpartition(":")[0]) if is_sealed(value) else None


def key_of_text(text: str) -> str | None:
    """The id of the key that a text is sealed under; None: it is not sealed."""
    return key_of(text.removeprefix(_PREFIX).rpartition(":")[0]) if text.startswith(_PREFIX) else None


def _dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")
