"""Encryption at rest: seals encoded values under the active key, and opens them under the key that they name.

A sealed value's type tag ends in ``+xaes256gcm:<key id>``. Its bytes are a nonce, a digest of its place (which
row and column it was made for), the ciphertext and an authentication tag that covers all of it and the tag
itself: a value that was altered, or moved to another place, is refused. A thread's id is no part of any place,
so that ``copy_thread`` and ``fork`` copy rows as they are. Values as JSON are sealed into one text
(``sealed_text``). It encodes nothing, and touches no database: the codec and whoever rotates keys use it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from holdfast.conf import settings
from holdfast.errors import DecryptionError
from holdfast.keys import Encryption
from holdfast.persistence.encryption.xaes import NONCE, Cipher

CIPHER: Final = "xaes256gcm"

Binding = tuple[object, ...]
"""What a value is bound to: the table or column, then what names the row. Empty: to nothing."""

_DIGEST: Final = 16  # bytes of a binding's digest


class Keyring:
    """The keys in force. Immutable, thread-safe; shows no key."""

    def __init__(self, encryption: Encryption) -> None:
        """Raises ConfigurationError where keys are given and ``cryptography`` is not installed."""
        self._ciphers: Mapping[str, Cipher] = {
            name: Cipher(secret.reveal()) for name, secret in encryption.keys.items()
        }
        self.active = encryption.active
        self.ids = tuple(encryption.keys)
        self.suffix = None if self.active is None else f"+{CIPHER}:{self.active}"
        """What the type tag of a new value ends in; None: new values are stored in the clear."""

    def __repr__(self) -> str:
        return f"<Keyring {', '.join(self.ids) or 'empty'}; active: {self.active}>"

    @property
    def encrypts(self) -> bool:
        """Whether new values are stored encrypted."""
        return self.active is not None

    def seal(self, tag: str, data: bytes, binding: Binding = ()) -> tuple[str, bytes]:
        """Type tag and bytes to store, sealed under the active key; as they are where there is none."""
        if self.active is None:
            return tag, data
        digest = _digest(binding)
        sealed = self._ciphers[self.active].encrypt(data, _associated(tag, digest))
        return f"{tag}{self.suffix}", sealed[:NONCE] + digest + sealed[NONCE:]

    def open(self, tag: str, data: bytes, binding: Binding = ()) -> tuple[str, bytes]:
        """The same as they were before ``seal``; what is not sealed, as it is. Raises DecryptionError.

        Without a binding it is not looked at where the value was made for.
        """
        inner, sealed, key = tag.partition(f"+{CIPHER}:")
        if not sealed:
            if "+" in tag:
                raise _foreign(tag)
            return tag, data
        cipher = self._ciphers.get(key)
        if cipher is None:
            raise _missing(key, self.ids)
        digest = data[NONCE : NONCE + _DIGEST]
        plain = cipher.decrypt(data[:NONCE] + data[NONCE + _DIGEST :], _associated(inner, digest))
        if plain is None:
            raise _damaged(key)
        if binding and digest != _digest(binding):
            raise _moved(key, binding)
        return inner, plain

    def sealed_text(self, tag: str, data: bytes, binding: Binding = ()) -> str:
        """``seal`` as one text, for a place that takes only text or JSON."""
        tag, data = self.seal(tag, data, binding)
        return f"{tag}:{base64.b64encode(data).decode('ascii')}"

    def opened_text(self, text: str, binding: Binding = ()) -> bytes:
        """The bytes that ``sealed_text`` was given. Raises DecryptionError."""
        tag, _, encoded = text.rpartition(":")
        try:
            data = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error):
            raise _damaged(key_of(tag) or "?") from None
        return self.open(tag, data, binding)[1]


NO_KEYS: Final = Keyring(Encryption())
"""Seals nothing, and opens nothing that is sealed."""


def key_of(tag: str) -> str | None:
    """The id of the key that the tag names, or None: it is not sealed."""
    _, sealed, key = tag.partition(f"+{CIPHER}:")
    return key if sealed else None


def keyring() -> Keyring:
    """The keys of the settings in force. Raises ConfigurationError."""
    return _ring(settings().ENCRYPTION)


@lru_cache(maxsize=8)
def _ring(encryption: Encryption) -> Keyring:
    return Keyring(encryption)


def _digest(binding: Binding) -> bytes:
    if not binding:
        return bytes(_DIGEST)
    total = hashlib.blake2b(digest_size=_DIGEST, person=b"holdfast-place")
    for part in binding:
        encoded = str(part).encode("utf-8", "surrogatepass")
        total.update(len(encoded).to_bytes(4, "big"))
        total.update(encoded)
    return total.digest()


def _associated(tag: str, digest: bytes) -> bytes:
    return b"holdfast 1\x00" + tag.encode() + b"\x00" + digest


def _missing(key: str, known: tuple[str, ...]) -> DecryptionError:
    return DecryptionError(
        f'A stored value is encrypted with the key {key!r}, which HOLDFAST["ENCRYPTION"] does not have '
        f"({'it has ' + ', '.join(known) if known else 'it has none'}): add the key under that id.",
        key=key,
        setting="ENCRYPTION",
    )


def _damaged(key: str) -> DecryptionError:
    return DecryptionError(
        f'A stored value does not open with the key {key!r} of HOLDFAST["ENCRYPTION"]: the key of that id is '
        "another than it was encrypted with, or the value was altered.",
        key=key,
        setting="ENCRYPTION",
    )


def _moved(key: str, binding: Binding) -> DecryptionError:
    return DecryptionError(
        f'A stored value, encrypted with the key {key!r} of HOLDFAST["ENCRYPTION"], was made for another place than '
        f"{'/'.join(str(part) for part in binding)}: somebody has moved it in the database.",
        key=key,
        setting="ENCRYPTION",
    )


def _foreign(tag: str) -> DecryptionError:
    return DecryptionError(
        f"A stored value has the type {tag!r}: it was encrypted by something else, such as LangGraph's "
        "EncryptedSerializer, whose values Holdfast does not open. Decrypt it there first "
        '(HOLDFAST["ENCRYPTION"] is for values of Holdfast\'s own).',
        key=tag.partition("+")[2],
        setting="ENCRYPTION",
    )
