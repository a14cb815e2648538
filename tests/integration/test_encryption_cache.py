"""The node cache elsewhere, with keys: what one process stores another finds, and what does not open is missing."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.persistence.backends import close_backends, open_cache
from tests.acceptance.brokers import RedisBroker
from tests.extras import extra
from tests.integration.encrypting import KEYS, encryption

extra("cryptography")

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")  # upstream's


@pytest.fixture(params=["redis", "sqlite", "memory"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A cache's address."""
    if request.param == "redis":
        extra("redis")
        broker = RedisBroker()  # for a database that is nobody else's meanwhile
        yield broker.url
        close_backends()
        broker.close()
    else:
        yield {"sqlite": f"sqlite:///{tmp_path}/cache.db", "memory": "memory://"}[request.param]
        close_backends()


def test_a_cached_value_that_is_encrypted_is_found(elsewhere: str, settings: Any) -> None:
    settings.HOLDFAST = encryption("a")
    cache, key = open_cache(elsewhere), (("holdfast-test", str(uuid.uuid4())), "k")
    cache.set({key: ({"a": (1, "Kumquat")}, 60)})
    assert cache.get([key]) == {key: {"a": (1, "Kumquat")}}
    (stored,) = cache._inner.get([key]).values()
    assert stored.startswith(b"msgpack+xaes256gcm:a\n")
    assert b"Kumquat" not in stored
    cache.clear([key[0]])


def test_a_cached_value_that_does_not_open_is_missing(
    elsewhere: str, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.HOLDFAST = encryption("a")
    key = (("holdfast-test", str(uuid.uuid4())), "k")
    open_cache(elsewhere).set({key: (1, 60)})
    another = {"keys": {"a": KEYS["b"]}, "active": "a"}
    for known in (encryption(None, "b"), {"ENCRYPTION": another}):
        settings.HOLDFAST = known
        with caplog.at_level(logging.WARNING, "holdfast.backends"):
            assert open_cache(elsewhere).get([key]) == {}
        assert "is not used" in caplog.text
        caplog.clear()
    settings.HOLDFAST = encryption("a")
    open_cache(elsewhere).clear([key[0]])
