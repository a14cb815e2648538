"""P11: a run whose checkpoints, store or cache can never be opened is refused when it is enqueued."""

from __future__ import annotations

from typing import Any

import pytest

import holdfast
from holdfast.errors import ConfigurationError
from holdfast.graphs import registry
from holdfast.persistence.backends import usable as module
from holdfast.persistence.models import RunRow
from holdfast.runner.checks import check_backends
from tests.acceptance.journal.graphs import _graph as journal
from tests.acceptance.journal.pages import page

pytestmark = pytest.mark.django_db(transaction=True)

WRONG = [
    ("CHECKPOINTER", "postgresq://archive/x", "names no backend"),
    ("CHECKPOINTER", "sqlite://relative.db", "sqlite:///relative.db"),
    ("CHECKPOINTER", "postgresql://user:secret@[host/x", "cannot be read"),
    ("CHECKPOINTER", "redis://:secret@127.0.0.1:port/0", "cannot be read"),
    ("STORE", "redis:///0", "names no server"),
    ("STORE", "mongodb:///x", "names no server"),
    ("CACHE", "mongodb://127.0.0.1/x", "no cache there"),
    ("CACHE", "tests.nothing:cache", "cannot be imported"),
    ("STORE", "tests.integration.backend_servers:nothing", "cannot be imported"),
    ("STORE", "tests.integration.backend_servers:NAMES", "not a function"),
]


@pytest.mark.parametrize(("kind", "address", "problem"), WRONG)
def test_p11_an_address_that_cannot_be_used_is_refused_and_nothing_is_written(
    kind: str, address: str, problem: str, settings: Any
) -> None:
    settings.HOLDFAST = {**settings.HOLDFAST, kind: address}
    with pytest.raises(ConfigurationError, match=problem) as caught:
        holdfast.enqueue("journal", page("a"))
    assert "secret" not in str(caught.value)
    assert not RunRow.objects.exists()


def test_p11_what_a_graph_names_is_looked_at_too_and_only_what_it_uses(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))
    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": "nowhere://x"}
    holdfast.register("usable-here", checkpointer="memory://")(journal)
    assert holdfast.enqueue("usable-here", page("a")).status == "queued"
    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": "django"}
    holdfast.register("usable-nowhere", checkpointer="nowhere://x")(journal)
    with pytest.raises(ConfigurationError, match="names no backend"):
        holdfast.enqueue_many([{"graph": "journal", "input": page("a")}, {"graph": "usable-nowhere"}])
    assert RunRow.objects.count() == 1
    assert any("usable-nowhere" in each.msg for each in check_backends([]))


def test_p11_a_missing_extra_is_refused_by_name(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module._look_once.cache_clear()
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": "sqlite:///x.db"}
    with pytest.raises(ConfigurationError, match=r"pip install 'holdfast\[sqlite\]'"):
        holdfast.enqueue("journal", page("a"))
    assert not RunRow.objects.exists()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://user@127.0.0.1:9/x",
        "redis://127.0.0.1:9/0",
        "mongodb://127.0.0.1:9,127.0.0.1:10/x",
        "mongodb+srv://cluster.invalid/x",
    ],
)
def test_p1_a_server_that_is_down_is_no_reason_to_refuse(address: str, settings: Any) -> None:
    pytest.importorskip("pymongo")
    pytest.importorskip("redis")
    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": address, "STORE": address}
    assert holdfast.enqueue("journal", page("a")).status == "queued"
