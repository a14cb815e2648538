"""Encryption at rest: sealed under the active key, opened under the one that a value names, bound to its place."""

from __future__ import annotations

import base64
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest

from holdfast.conf import settings as holdfast_settings
from holdfast.errors import ConfigurationError, DecryptionError, NotSerializableError
from holdfast.keys import Encryption, Secret
from holdfast.persistence import codec
from holdfast.persistence.encryption import Keyring, bindings, key_of, keyring
from holdfast.persistence.encryption.inline import (
    key_of_json,
    open_json,
    open_text,
    seal_json,
    seal_text,
    shown_text,
)
from holdfast.persistence.encryption.xaes import Cipher
from tests.extras import extra

extra("cryptography")

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
HERE = bindings.channel("", "messages", "2.7")


def ring(active: str | None = "new", **keys: bytes) -> Keyring:
    known = {name: Secret(value) for name, value in (keys or {"old": OLD, "new": NEW}).items()}
    return Keyring(Encryption(keys=known, active=active))


@pytest.mark.parametrize(
    ("key", "associated", "sealed"),
    [
        (b"\x01" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (b"\x03" * 32, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ],
)
def test_the_cipher_gives_what_its_specification_gives(
    key: bytes, associated: bytes, sealed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX"
    monkeypatch.setattr("os.urandom", lambda size: nonce[:size])
    cipher = Cipher(key)
    assert cipher.encrypt(b"XAES-256-GCM", associated) == nonce + bytes.fromhex(sealed)
    assert cipher.decrypt(nonce + bytes.fromhex(sealed), associated) == b"XAES-256-GCM"


def test_a_value_opens_under_the_key_that_it_names_whichever_is_active() -> None:
    tag, data = ring("old").seal("msgpack", b"secret", HERE)
    assert tag == "msgpack+xaes256gcm:old"
    assert key_of(tag) == "old"
    assert b"secret" not in data
    assert ring("new").open(tag, data, HERE) == ("msgpack", b"secret")
    assert ring(None).open(tag, data, HERE) == ("msgpack", b"secret")


def test_the_same_value_is_sealed_differently_each_time() -> None:
    keys = ring()
    assert keys.seal("msgpack", b"secret", HERE) != keys.seal("msgpack", b"secret", HERE)


def test_without_an_active_key_values_stay_as_they_are() -> None:
    assert ring(None).seal("msgpack", b"plain", HERE) == ("msgpack", b"plain")
    assert ring().open("msgpack", b"plain", HERE) == ("msgpack", b"plain")


def test_a_missing_key_is_named_with_the_setting() -> None:
    tag, data = ring("old").seal("msgpack", b"secret")
    with pytest.raises(DecryptionError, match=r"'old'.*ENCRYPTION.*it has new") as caught:
        ring(new=NEW).open(tag, data)
    assert (caught.value.key, caught.value.setting) == ("old", "ENCRYPTION")


@pytest.mark.parametrize("changed", ["key", "data", "end", "tag", "place digest"])
def test_another_key_and_an_altered_value_are_refused(changed: str) -> None:
    tag, data = ring("old").seal("msgpack", b"secret", HERE)
    keys = ring(old=NEW, active="old") if changed == "key" else ring("old")
    spoilt = bytearray(data)
    if changed in {"data", "place digest"}:
        spoilt[45 if changed == "data" else 30] ^= 1
    if changed == "tag":
        tag = tag.replace("msgpack", "bytes")
    with pytest.raises(DecryptionError, match=r"'old'.*another|altered") as caught:
        keys.open(tag, bytes(spoilt[:10] if changed == "end" else spoilt))
    assert caught.value.key == "old"


def test_a_value_that_was_moved_is_refused_where_its_place_is_known() -> None:
    tag, data = ring().seal("msgpack", b"secret", HERE)
    with pytest.raises(DecryptionError, match="another place"):
        ring().open(tag, data, bindings.channel("", "approved", "2.7"))
    assert ring().open(tag, data)[1] == b"secret"


def test_places_are_told_apart_by_their_parts_and_not_by_how_they_read() -> None:
    assert bindings.item("a", "b") != bindings.item("ab", "")
    tag, data = ring().seal("msgpack", b"secret", ("store", "a", "b"))
    with pytest.raises(DecryptionError):
        ring().open(tag, data, ("store", "ab", ""))


def test_values_of_another_encryption_are_refused_with_advice() -> None:
    with pytest.raises(DecryptionError, match="EncryptedSerializer"):
        ring().open("msgpack+aes", b"x")


@pytest.mark.parametrize("value", [None, 1, "text", [1, {"a": "ü\x00"}], {"holdfast_sealed": "mine", "b": 1}])
def test_json_is_sealed_into_json_and_opens_again(value: Any) -> None:
    sealed = seal_json(value, HERE, ring())
    assert key_of_json(sealed) == "new"
    assert open_json(sealed, HERE, ring(None)) == value
    assert seal_json(value, HERE, ring(None)) == value
    with pytest.raises(DecryptionError):
        open_json(sealed, bindings.item("a", "b"), ring())


def test_text_is_sealed_into_text_and_opens_again() -> None:
    sealed = seal_text("a secret", HERE, ring())
    assert "secret" not in sealed
    assert open_text(sealed, HERE, ring()) == "a secret"
    assert seal_text("", HERE, ring()) == ""
    assert open_text(seal_text("plain", HERE, ring(None)), HERE, ring(None)) == "plain"
    assert "'new'" in shown_text(sealed)


def test_p12_what_only_looks_sealed_is_not_taken_for_it() -> None:
    sealed = seal_json("secret", HERE, ring())
    with pytest.raises(NotSerializableError):
        seal_json(sealed, HERE, ring(None))
    assert open_json(seal_json(sealed, HERE, ring()), HERE, ring()) == sealed
    text = seal_text("secret", HERE, ring())
    assert open_text(seal_text(text, HERE, ring(None)), HERE, ring(None)) == f" {text}"


# ── the setting


def written(key: bytes) -> str:
    return base64.b64encode(key).decode()


@pytest.mark.parametrize(
    "form",
    [
        written(OLD),
        written(OLD).rstrip("="),
        OLD.hex(),
        OLD,
        base64.urlsafe_b64encode(OLD).decode(),
        "env:THE_KEY",
    ],
)
def test_a_key_is_written_in_any_usual_form(
    form: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", written(OLD))
    settings.HOLDFAST = {"ENCRYPTION": {"keys": {"a": form}, "active": "a"}}
    assert keyring().open(*Keyring(Encryption(keys={"a": Secret(OLD)}, active="a")).seal("x", b"y")) == (
        "x",
        b"y",
    )


def test_a_key_is_read_from_a_file(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(written(NEW) + "\n")
    settings.HOLDFAST = {"ENCRYPTION": {"keys": {"a": f"file:{tmp_path / 'key'}"}, "active": "a"}}
    assert keyring().encrypts
    settings.HOLDFAST = {"ENCRYPTION": {"keys": {"a": f"file:{tmp_path / 'none'}"}, "active": "a"}}
    with pytest.raises(ConfigurationError, match="cannot be read"):
        keyring()


def test_the_environment_adds_keys_and_says_which_is_active(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_ENCRYPTION_KEYS", f"b:{written(NEW)}, a:{written(OLD)}")
    assert (keyring().active, set(keyring().ids)) == ("b", {"a", "b"})
    monkeypatch.setenv("HOLDFAST_ENCRYPTION_ACTIVE", "a")
    assert keyring().active == "a"
    monkeypatch.setenv("HOLDFAST_ENCRYPTION_ACTIVE", "")
    assert not keyring().encrypts
    monkeypatch.delenv("HOLDFAST_ENCRYPTION_ACTIVE")
    settings.HOLDFAST = {"ENCRYPTION": {"keys": {"c": written(OLD)}, "active": "c"}}
    assert (keyring().active, set(keyring().ids)) == ("c", {"a", "b", "c"})


@pytest.mark.parametrize(
    "given",
    [
        "k",
        {"key": "x"},
        {"keys": {"a": "c2hvcnQ="}},
        {"keys": {"a": 5}},
        {"keys": {"a b": written(OLD)}},
        {"keys": {"a": written(OLD)}, "active": "b"},
        {"keys": {"a": "env:NOT_THERE"}},
        {"keys": [written(OLD)]},
    ],
)
def test_a_wrong_setting_is_refused_without_showing_a_key(given: Any, settings: Any) -> None:
    settings.HOLDFAST = {"ENCRYPTION": given}
    with pytest.raises(ConfigurationError, match="ENCRYPTION") as caught:
        holdfast_settings()
    assert written(OLD) not in str(caught.value)
    assert "c2hvcnQ" not in str(caught.value)


def test_no_repr_log_or_pickle_shows_a_key(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.HOLDFAST = {"ENCRYPTION": {"keys": {"a": written(OLD)}, "active": "a"}}
    with caplog.at_level(logging.DEBUG):
        encoder = codec.codec()
        logging.getLogger("test").debug(
            "%r %r %r %r", holdfast_settings(), keyring(), encoder, encoder.__dict__
        )
    for form in (written(OLD), OLD.hex(), repr(OLD)):
        assert form not in caplog.text
    with pytest.raises(TypeError):
        pickle.dumps(holdfast_settings())


# ── the codec


def test_the_codec_seals_and_opens_by_itself(settings: Any) -> None:
    plain = codec.dumps({"a": 1}, field="x", binding=HERE)
    settings.HOLDFAST = {"ENCRYPTION": {"keys": {"a": written(OLD)}, "active": "a"}}
    assert codec.codec().encrypts
    assert codec.codec([("tests.unit.codec_types", "Order")]).encrypts
    tag, data = codec.dumps({"a": 1}, field="x", binding=HERE)
    assert tag == "msgpack+xaes256gcm:a"
    assert codec.loads(tag, data, binding=HERE) == codec.loads(*plain, binding=HERE) == {"a": 1}
    settings.HOLDFAST = {}
    assert not codec.codec().encrypts
    with pytest.raises(DecryptionError, match="it has none"):
        codec.loads(tag, data)
