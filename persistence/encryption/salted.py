"""Hashes of what is encrypted: each run has a secret of its own, so that nobody can test a guess against them.

The secret stands, sealed, in the run's config, where it stays the same whichever key is active. A run that was
enqueued without encryption has none, and its hashes are plain SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from holdfast.persistence.encryption import keyring, places
from holdfast.persistence.encryption.inline import is_sealed, open_json, seal_json


class Config(NamedTuple):
    """What stands in a run's column ``config``."""

    config: Mapping[str, Any]
    salt: str
    """The secret; empty where nothing is encrypted."""


def new_salt() -> str:
    """The secret of a new run; empty where nothing is encrypted."""
    return secrets.token_hex(16) if keyring().encrypts else ""


def stored_config(config: Mapping[str, Any], salt: str, run_id: object) -> Any:
    """The JSON for the column ``config``."""
    if not salt:
        return dict(config)
    return seal_json({"config": dict(config), "salt": salt}, places.run("config", run_id))


def opened_config(stored: Any, run_id: object) -> Config:
    """The same read back. Raises DecryptionError."""
    if not is_sealed(stored):
        return Config(stored, "")
    opened = open_json(stored, places.run("config", run_id))
    return Config(opened["config"], opened["salt"])


def salted(digest: bytes, salt: str) -> str:
    """The digest as 64 hexadecimal digits, keyed with the run's secret if it has one."""
    return hmac.new(salt.encode(), digest, hashlib.sha256).hexdigest() if salt else digest.hex()
