"""``holdfast cache``: what the node cache holds and has saved, and emptying it by node (P5)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from holdfast.persistence import DjangoCache
from holdfast.persistence.models import NodeCacheEntry, NodeFlight
from holdfast.persistence.node_cache import usage
from tests import celery_app as _celery_app  # noqa: F401 - a broker that answers
from tests.integration.shell import Shell
from tests.integration.test_single_flight import Busy, one_node, somebody_computes

pytestmark = pytest.mark.django_db(transaction=True)

MARK = "__pregel_ns_writes"
READ, SUM = (MARK, "shop.graphs.read", "read"), (MARK, "shop.graphs.total")
CLOSURE = (MARK, "shop.graphs.made.<locals>.node", "100%_read")


@pytest.fixture
def _used() -> None:
    """Three nodes' entries, of which the second of ``read`` has saved most."""
    DjangoCache[Any](version="shop@2").set({(READ, "a"): ("x" * 2000, None), (READ, "b"): (1, 60)})
    DjangoCache[Any](version="bank").set({(READ, "a"): (1, None), (SUM, "c"): (1, None)})
    DjangoCache[Any]().set({(CLOSURE, "d"): (1, None)})
    NodeCacheEntry.objects.filter(key="b").update(
        cost=2.5, hits=4, misses=2, saved=10.0, expires_at=timezone.now() - timedelta(seconds=1)
    )
    NodeCacheEntry.objects.filter(key="c").update(cost=300.0, hits=2, saved=600.0)


@pytest.mark.usefixtures("_used")
def test_what_each_node_has_saved_is_told_by_version_most_first(shell: Shell) -> None:
    found = shell.json("cache")
    assert [(line["namespace"][-1], line["version"], line["entries"], line["hits"]) for line in found] == [
        ("shop.graphs.total", "bank", 1, 2),
        ("read", "shop@2", 2, 4),
        ("100%_read", "", 1, 0),
        ("read", "bank", 1, 0),
    ]
    assert [line["saved"] for line in found] == [600.0, 10.0, 0.0, 0.0]
    assert (found[1]["expired"], found[1]["misses"]) == (1, 3)
    head, first, second, *_ = shell("cache").splitlines()
    assert head.split() == ["node", "version", "entries", "hits", "misses", "saved", "size"]
    assert re.fullmatch(r"shop.graphs.total +bank +1 +2 +1 +10 min +1 B", first)
    assert re.fullmatch(r"read +shop@2 +2 \(1 expired\) +4 +3 +10 s +2.0 kB", second)


@pytest.mark.usefixtures("_used")
@pytest.mark.parametrize(
    ("node", "keys"),
    [
        ("read", ["b", "a", "a"]),
        ("shop.graphs.read", ["b", "a", "a"]),
        ("graphs.total", ["c"]),
        ("100%_read", ["d"]),
        ("r%d", []),
        ("ead", []),
    ],
)
def test_a_nodes_entries_are_found_by_its_name_or_its_functions(
    shell: Shell, node: str, keys: list[str]
) -> None:
    found = shell.json("cache", node)
    assert [line["key"] for line in found] == keys
    if node == "read":
        assert (found[0]["cost"], found[0]["hits"], found[0]["saved"]) == (2.5, 4, 10.0)
        assert re.search(r"read +shop@2 +b +2.50 s +4 +2 +10 s +1 B\n", shell("cache", node))
        assert len(shell.json("cache", node, "--limit", "1")) == 1


@pytest.mark.usefixtures("_used")
@pytest.mark.parametrize("columns", [30, 60, 200])
def test_nothing_is_lost_in_a_terminal_of_any_width(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    said = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shell("cache").splitlines()]
    assert all(len(line) <= columns for line in said)
    for part in ("shop.graphs.total", "bank", "10 min", "shop@2", "2 (1 expired)", "2.0 kB"):
        assert part.replace(" ", "") in "".join(said).replace(" ", "")


@pytest.mark.usefixtures("_used")
def test_clearing_a_node_takes_its_entries_of_every_graph_and_no_others(shell: Shell) -> None:
    assert shell.json("cache", "read", "--clear") == {"deleted": 3}
    assert sorted(NodeCacheEntry.objects.values_list("key", flat=True)) == ["c", "d"]
    assert shell("cache", "read", "--clear") == "0 entries deleted\n"
    assert shell("cache", "total", "--clear") == "1 entry deleted\n"
    shell("cache", "--clear", code=2)
    assert "names them" in shell.stderr
    assert NodeCacheEntry.objects.get().key == "d"


def test_what_is_being_computed_while_its_node_is_cleared_is_not_stored() -> None:
    busy = Busy()
    with somebody_computes(one_node(busy), busy, False):
        assert NodeFlight.objects.count() == 1
        assert usage.clear("node") == 0
    assert not NodeCacheEntry.objects.exists()


def test_an_empty_cache_says_so(shell: Shell) -> None:
    assert shell("cache") == "nothing is cached\n"
    assert shell("cache", "[bold]read") == "nothing is cached of [bold]read\n"
    assert shell.json("cache") == []
