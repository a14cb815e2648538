"""XAES-256-GCM: AES-256-GCM with nonces of 24 random bytes, after https://c2sp.org/XAES-256-GCM.

Plain AES-GCM with random nonces is sound for 2**32 values under one key, which a busy site stores within
weeks; with this one the number of values does not matter. It derives an AES key of its own for each value by
two blocks of AES-CMAC and leaves the rest to AES-GCM of the ``cryptography`` package. It knows no settings.
"""

from __future__ import annotations

import os
from typing import Any, Final

from holdfast.errors import ConfigurationError

NONCE: Final = 24
"""Bytes of a nonce, which stands before the ciphertext."""
OVERHEAD: Final = NONCE + 16
"""Bytes that encryption adds: the nonce, and the tag by which an alteration is seen."""

_BLOCK: Final = (1 << 128) - 1


class Cipher:
    """Encrypts under one key of 32 bytes. Immutable, thread-safe."""

    def __init__(self, key: bytes) -> None:
        """Raises ConfigurationError where ``cryptography`` is not installed."""
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers import Cipher as Primitive
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            from cryptography.hazmat.primitives.ciphers.algorithms import AES
            from cryptography.hazmat.primitives.ciphers.modes import ECB
        except ImportError as error:
            raise ConfigurationError(
                "HOLDFAST[\"ENCRYPTION\"] has keys, and encryption is an extra: pip install 'holdfast[encryption]'.",
                setting="ENCRYPTION",
            ) from error
        self._aead: Any = AESGCM
        self._invalid: Any = InvalidTag
        self._block: Any = Primitive(AES(key), ECB())  # noqa: S305 - single blocks for CMAC; nothing is stored in this mode
        first = self._block.encryptor().update(bytes(16))
        doubled = int.from_bytes(first, "big") << 1
        self._subkey = (doubled ^ (0x87 if first[0] & 0x80 else 0)) & _BLOCK

    def encrypt(self, plain: bytes, associated: bytes) -> bytes:
        """Nonce, ciphertext and tag; ``associated`` is authenticated along with it, and not stored."""
        nonce = os.urandom(NONCE)
        sealed: bytes = self._derived(nonce).encrypt(nonce[12:], plain, associated)
        return nonce + sealed

    def decrypt(self, sealed: bytes, associated: bytes) -> bytes | None:
        """What was encrypted; None if key, ciphertext or ``associated`` are others."""
        nonce = sealed[:NONCE]
        if len(sealed) < OVERHEAD:
            return None
        try:
            plain: bytes = self._derived(nonce).decrypt(nonce[12:], sealed[NONCE:], associated)
        except self._invalid:
            return None
        return plain

    def _derived(self, nonce: bytes) -> Any:
        blocks = b"".join(
            (int.from_bytes(b"\x00" + counter + b"X\x00" + nonce[:12], "big") ^ self._subkey).to_bytes(
                16, "big"
            )
            for counter in (b"\x01", b"\x02")
        )
        return self._aead(self._block.encryptor().update(blocks))
