"""The keys of ``HOLDFAST["ENCRYPTION"]``: read from settings, files and the environment, and never shown.

A key is 32 bytes, written as base64 or as 64 hexadecimal digits: ``openssl rand -base64 32`` makes one.
Nothing here encrypts; ``holdfast.persistence.encryption`` does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from holdfast.errors import ConfigurationError

SIZE: Final = 32
"""Bytes of a key."""
KEYS_VARIABLE: Final = "HOLDFAST_ENCRYPTION_KEYS"
"""Environment variable with further keys, ``id:key`` each, parted by commas or white space."""
ACTIVE_VARIABLE: Final = "HOLDFAST_ENCRYPTION_ACTIVE"
"""Environment variable with the id of the active key; empty: none, what is new is stored in the clear."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Secret:
    """A key that shows only a fingerprint of itself, also in ``repr``, logs and error pages."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The key itself."""
        return self._value

    def __repr__(self) -> str:
        return f"<key {hashlib.blake2b(self._value, digest_size=4, person=b'holdfast-key').hexdigest()}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> Any:
        raise TypeError("a key is not pickled")


@dataclass(frozen=True, kw_only=True, slots=True)
class Encryption:
    """What ``HOLDFAST["ENCRYPTION"]`` says: the keys that can be read with, and the one that is written with."""

    keys: Mapping[str, Secret] = field(default_factory=dict)
    """By id. Values that were stored under one can be read as long as it is here."""
    active: str | None = None
    """Id of the key that new values are stored under; None stores them in the clear."""
    readable_vectors: bool = False
    """Whether the store's index may keep vectors, which cannot be encrypted, and tell much of their texts."""

    def __hash__(self) -> int:
        return hash((frozenset(self.keys.items()), self.active, self.readable_vectors))


NOTHING: Final = Encryption()
"""No keys: all is stored in the clear."""


def read(given: Any) -> Encryption:
    """The setting, with what the environment adds to it. Raises ConfigurationError, which shows no key."""
    listed, chosen = os.environ.get(KEYS_VARIABLE, ""), os.environ.get(ACTIVE_VARIABLE)
    if given is None:
        return _joined({}, listed, chosen) if listed or chosen is not None else NOTHING
    if not isinstance(given, Mapping) or not set(given) <= {"keys", "active", "readable_vectors"}:
        raise _wrong('is a dict with "keys" (id: key), "active" (an id, or None) and "readable_vectors"')
    if not isinstance(given.get("readable_vectors", False), bool):
        raise _wrong('["readable_vectors"] is True or False')
    if not isinstance(given.get("keys") or {}, Mapping):
        raise _wrong('["keys"] is a dict of ids and keys')
    return _joined(given, listed, chosen)


def _joined(given: Mapping[str, Any], listed: str, chosen: str | None) -> Encryption:
    keys = {_id(each): _secret(each, value) for each, value in (given.get("keys") or {}).items()}
    active = given.get("active")
    if added := _listed(listed):
        keys |= added
        if "active" not in given:
            active = next(iter(added))
    if chosen is not None:
        active = chosen or None
    if active is not None and active not in keys:
        raise _wrong(f'["active"] is {str(active)[:64]!r}, and there is no key of that id')
    return Encryption(keys=keys, active=active, readable_vectors=bool(given.get("readable_vectors", False)))


def _listed(text: str) -> dict[str, Secret]:
    found: dict[str, Secret] = {}
    for entry in re.split(r"[,\s]+", text.strip()):
        if entry:
            name, _, key = entry.partition(":")
            found[_id(name)] = _secret(name, key)
    return found


def _id(value: Any) -> str:
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    raise _wrong("has a key without a proper id: 1 to 64 letters, digits, dots, hyphens or underscores")


def _secret(name: str, value: Any) -> Secret:
    found = _decoded(value) if isinstance(value, str) else value
    if isinstance(found, bytes | bytearray) and len(found) == SIZE:
        return Secret(bytes(found))
    raise _wrong(
        f'["keys"][{name!r}] is no key: 32 bytes as base64 or hexadecimal digits, "env:NAME" or "file:/path"'
    )


def _decoded(text: str) -> bytes | None:
    source, _, place = text.partition(":")
    if source == "env" and place:
        text = os.environ.get(place, "")
    elif source == "file" and place:
        text = _content(place)
    return _decoded_text(text)


@lru_cache(maxsize=256)
def _content(path: str) -> str:
    try:
        return Path(path).read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(f"names the file {path}, which cannot be read: {type(error).__name__}") from None


@lru_cache(maxsize=256)
def _decoded_text(text: str) -> bytes | None:
    text = text.strip()
    try:
        if len(text) == 2 * SIZE:
            return bytes.fromhex(text)
        return base64.b64decode(
            text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True
        )
    except (ValueError, binascii.Error):
        return None


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(
        f'HOLDFAST["ENCRYPTION"]{"" if what[0] == "[" else " "}{what}.', setting="ENCRYPTION"
    )
