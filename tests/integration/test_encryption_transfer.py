"""The ways out of encryption and into it, by transfer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import ConfigurationError
from holdfast.persistence import DjangoSaver, DjangoStore, transfer
from holdfast.persistence.backends import close_backends
from tests.extras import extra
from tests.integration.claims import chain, config_for
from tests.integration.encrypting import encryption, in_the_clear, sealed_under

extra("cryptography")
sqlite = extra("langgraph.checkpoint.sqlite")
sqlite_store = extra("langgraph.store.sqlite")

pytestmark = pytest.mark.django_db(transaction=True)

SPACE = ("users", "1")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "other.db"
    close_backends()


def test_without_an_active_key_transfer_leads_out_to_stock_savers(settings: Any, file: Path) -> None:
    settings.HOLDFAST = encryption("a")
    config, builder = config_for("moved"), chain(2)
    ended = builder.compile(checkpointer=DjangoSaver()).invoke({"items": ["Kumquat"]}, config)
    DjangoStore().put(SPACE, "taste", {"likes": "Kumquat"})
    assert in_the_clear("Kumquat") == {}
    with pytest.raises(ConfigurationError, match="in the clear"):
        transfer.transfer("django", f"sqlite:///{file}")
    settings.HOLDFAST = encryption(None)  # all keys are known, none is active
    transfer.transfer("django", f"sqlite:///{file}")
    with sqlite.SqliteSaver.from_conn_string(str(file)) as stock:
        assert builder.compile(checkpointer=stock).get_state(config).values == ended
        assert len(list(stock.list(config))) == len(list(DjangoSaver().list(config)))
    with sqlite_store.SqliteStore.from_conn_string(str(file)) as stock:
        assert stock.get(SPACE, "taste").value == {"likes": "Kumquat"}


def test_transfer_encrypts_what_a_stock_saver_had_in_the_clear(settings: Any, file: Path) -> None:
    config, builder = config_for("moved"), chain(2)
    with sqlite.SqliteSaver.from_conn_string(str(file)) as stock:
        ended = builder.compile(checkpointer=stock).invoke({"items": ["Kumquat"]}, config)
    settings.HOLDFAST = encryption("a")
    transfer.transfer(f"sqlite:///{file}", "django", store=False)
    assert in_the_clear("Kumquat") == {}
    assert set(sealed_under()) == {"a"}
    assert builder.compile(checkpointer=DjangoSaver()).get_state(config).values == ended
