"""Hashes of what is encrypted: each run has a secret of its own, so that nobody can test a guess against them.

The secret stands, sealed, in the run's config, where it stays the same whichever key is active. A run that was
enqueued without encryption has none, and its hashes are plain SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from holdfast.persistence.encryption import Keyring, bindings, keyring
from holdfast.persistence.encryption.inline import is_sealed, key_of_json, open_json, seal_json

_OPEN: Final = "holdfast_opened"
"""The only entry of a config that was encrypted and is no more."""


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
    return _stored(Config(config, salt), run_id, keyring())


def opened_config(stored: Any, run_id: object) -> Config:
    """The same read back. Raises DecryptionError."""
    return _opened(stored, run_id, keyring())


def resealed_config(stored: Any, run_id: object, ring: Keyring) -> Any:
    """The same under the active key; the run keeps its secret, also in the clear. Raises DecryptionError."""
    if is_sealed(stored) and key_of_json(stored) == ring.active:
        return stored
    config, salt = _opened(stored, run_id, ring)
    if ring.encrypts and not salt and config:
        return seal_json({"config": dict(config), "salt": ""}, bindings.run("config", run_id), ring)
    return _stored(Config(config, salt), run_id, ring)


def _stored(config: Config, run_id: object, ring: Keyring) -> Any:
    if not config.salt:
        return dict(config.config)
    both = {"config": dict(config.config), "salt": config.salt}
    # Once all has been brought into the clear, hashes are still keyed with it.
    return seal_json(both, bindings.run("config", run_id), ring) if ring.encrypts else {_OPEN: both}


def _opened(stored: Any, run_id: object, ring: Keyring) -> Config:
    if is_sealed(stored):
        stored = {_OPEN: open_json(stored, bindings.run("config", run_id), ring)}
    both = stored.get(_OPEN)
    return Config(stored, "") if both is None else Config(both["config"], both["salt"])


def salted(digest: bytes, salt: str) -> str:
    """The digest as 64 hexadecimal digits, keyed with the run's secret if it has one."""
    return hmac.new(salt.encode(), digest, hashlib.sha256).hexdigest() if salt else digest.hex()
