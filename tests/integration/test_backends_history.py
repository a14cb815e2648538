"""P10: history= of register and keep_last of retention, wherever the checkpoints are."""

from __future__ import annotations

import time
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph

import holdfast
from holdfast.conf import Retention
from holdfast.persistence import ledger
from holdfast.persistence.backends import close_backends, open_saver
from holdfast.persistence.models import Checkpoint, RunRow
from holdfast.persistence.retention import prune
from holdfast.runner.management.doctor.project import backends as examined
from holdfast.runner.runs import attend
from holdfast.runner.runs.thinning import thin_now
from holdfast.testing import run_now
from tests.acceptance.journal.graphs import _graph as journal
from tests.acceptance.journal.pages import notes, page
from tests.integration import backend_graphs as graphs
from tests.integration.backend_servers import ELSEWHERE, address, on
from tests.integration.claims import config_for
from tests.integration.encrypting import encryption
from tests.integration.threads import config, keep

__all__ = ["address"]

pytestmark = pytest.mark.django_db(transaction=True)

for name, history in {"latest": "latest", "three": 3, "all": "all"}.items():
    holdfast.register(f"elsewhere-{name}", history=history)(journal)
    holdfast.register(f"below-elsewhere-{name}", history=history)(graphs.asking_below)


def run(graph: str, name: str, steps: int = 4, **more: Any) -> Any:
    return run_now(holdfast.enqueue(f"elsewhere-{graph}", page(name, steps, **more), thread_id="t"))


def roots(address: str, thread_id: str = "t") -> int:
    found = open_saver(address, allow=[("tests.integration.backend_graphs", "Point")]).list(
        config_for(thread_id)
    )
    return sum(each.config["configurable"]["checkpoint_ns"] == "" for each in found)


def values() -> Any:
    return holdfast.state("t").values["notes"]


@pytest.fixture
def not_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process had died right after its runs ended: nobody has thinned anything."""
    monkeypatch.setattr(attend, "thin_now", lambda thread_id: None)


@on(*ELSEWHERE)
def test_of_a_run_as_many_checkpoints_stay_as_its_graph_was_registered_with(address: str) -> None:
    run("latest", "a")
    assert (roots(address), values()) == (1, notes("a", 4))
    run("three", "b")
    assert (roots(address), values()) == (3, [*notes("a", 4), *notes("b", 4)])
    run("all", "c")
    assert roots(address) == 7 + 3, "nobody is due"
    run("latest", "d")
    assert roots(address) == 7 + 1, "what a run under all has left stays, and of b's none is among the newest"
    assert values() == [note for name in "abcd" for note in notes(name, 4)]
    assert not Checkpoint.objects.exists()
    assert ledger.histories_due() == []


@on("postgresql", "sqlite", "redis", "mongodb")
def test_it_is_so_with_a_key_too(address: str, settings: Any) -> None:
    pytest.importorskip("cryptography")
    settings.HOLDFAST = {**settings.HOLDFAST, **encryption("a"), "STORE": "django"}
    run("latest", "a")
    assert (roots(address), values()) == (1, notes("a", 4))
    deltas = run_now(holdfast.enqueue("delta-elsewhere-latest", {"items": ["in"]}, thread_id="d"))
    assert holdfast.state("d").values == deltas.result


class Deltas(TypedDict):
    items: Annotated[list[str], DeltaChannel(graphs.fold, snapshot_frequency=4)]


def deltas() -> StateGraph[Deltas]:
    """Its last checkpoint is no snapshot, and neither is the one before."""
    graph = StateGraph(Deltas)
    before = START
    for node in ("n0", "n1", "n2", "n3", "n4"):
        graph.add_node(node, lambda state, node=node: {"items": [node]})
        graph.add_edge(before, node)
        before = node
    return graph


holdfast.register("delta-elsewhere-latest", history="latest")(deltas)


@on(*ELSEWHERE)
def test_p10_a_delta_channel_is_rebuilt_from_what_stays(address: str) -> None:
    for turn in range(3):
        ended = run_now(holdfast.enqueue("delta-elsewhere-latest", {"items": ["in"]}, thread_id="d"))
        assert ended.status == "succeeded", ended.error
        assert holdfast.state("d").values == ended.result
        assert len(ended.result["items"]) == 6 * (turn + 1)
    assert 1 < roots(address, "d") < 8, "what the newest is rebuilt from, up to a snapshot"


@on(*ELSEWHERE)
def test_p3_a_failed_run_is_retried_from_the_step_that_failed(address: str, tmp_path: Any) -> None:
    done, log = tmp_path / "done", tmp_path / "log"
    failed = run("latest", "a", fail_unless=str(done), log=str(log))
    assert (failed.status, roots(address)) == ("failed", 1)
    done.touch()
    holdfast.retry(failed.id)
    assert run_now(failed).result["notes"] == notes("a", 4)
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["a.0", "a.1", "a.2", "a.3", "a.3"]
    assert roots(address) == 1


@on(*ELSEWHERE)
def test_p10_an_interrupted_run_keeps_all_that_it_has_and_its_predecessor_goes(
    address: str, not_yet: None
) -> None:
    run("latest", "a")
    waiting = run("latest", "b", ask_at=2)
    before = roots(address)
    thin_now("t")
    assert roots(address) == before - 6, "all of a's but its last, on which b began"
    holdfast.resume(waiting.id, "yes")
    assert run_now(waiting).status == "succeeded"
    thin_now("t")
    assert roots(address) == 1
    assert values() == [*notes("a", 4), *notes("b", 4)[:3], *values()[-2:]]


@on(*ELSEWHERE)
def test_a_subgraph_call_goes_with_the_root_it_started_from(address: str) -> None:
    asking = run_now(holdfast.enqueue("below-elsewhere-latest", {"notes": ["in"]}, thread_id="t"))
    assert asking.status == "interrupted"
    done = run_now(holdfast.resume(asking.id, "deep"))
    assert done.result == {"notes": ["in", "asked deep"]}
    left = [
        each.config["configurable"]["checkpoint_ns"] for each in open_saver(address).list(config_for("t"))
    ]
    assert left.count("") == 1
    assert len(left) == 1
    assert holdfast.state("t").values == done.result


@on(*ELSEWHERE)
def test_what_a_worker_has_left_undone_prune_does_and_a_dry_run_counts(address: str, not_yet: None) -> None:
    run("latest", "a")
    assert roots(address) == 7
    dry = prune(keep(), dry_run=True)
    assert (dry.checkpoints, roots(address)) == (6, 7)
    assert prune(keep()) == dry
    assert roots(address) == 1
    assert prune(keep()).checkpoints == 0


@on(*ELSEWHERE)
@pytest.mark.parametrize("number", [1, 3])
def test_p10_keep_last_leaves_the_newest_checkpoints_and_what_they_need(address: str, number: int) -> None:
    run("all", "a")
    deltas = run_now(holdfast.enqueue("delta_backend", {"items": ["in"]}, thread_id="d"))
    found = run_now(holdfast.enqueue("cached_backend", {"log": "/dev/null"}, thread_id="point"))
    dry = prune(Retention(keep_last=number), dry_run=True)
    report = prune(Retention(keep_last=number))
    assert dry.checkpoints == report.checkpoints > 0
    assert (roots(address), values()) == (number, notes("a", 4))
    assert roots(address, "point") == min(number, 3), "values of the graph's own types are no obstacle"
    assert holdfast.state("point").values == found.result
    assert holdfast.state("d").values == deltas.result
    assert prune(Retention(keep_last=number)).checkpoints == 0
    run("all", "b")
    assert values() == [*notes("a", 4), *notes("b", 4)]


@on(*ELSEWHERE)
def test_r20_a_thread_that_was_written_without_a_fence_lately_is_left_alone(
    address: str, not_yet: None
) -> None:
    run("latest", "a")
    journal().compile(checkpointer=open_saver(address)).invoke(page("stranger", 1), config("t"))
    before = roots(address)
    thin_now("t")
    assert roots(address) == before
    assert ledger.histories_due() == [], "looked at again in a while, not each second"
    assert prune(Retention(keep_last=1)).skipped == 1
    assert roots(address) == before


@on("sqlite", "postgresql", "memory")
def test_r20_a_run_that_writes_meanwhile_misses_nothing(address: str, not_yet: None) -> None:
    import threading

    from django.db import connection

    run("latest", "a", 12)
    following = holdfast.enqueue("elsewhere-latest", page("b", 30), thread_id="t")
    ended: list[Any] = []

    def execute() -> None:
        try:
            ended.append(run_now(following))
        finally:
            connection.close()

    executor = threading.Thread(target=execute)
    executor.start()
    while executor.is_alive():
        RunRow.objects.filter(status="succeeded").update(thin_at="2020-01-01T00:00Z")
        thin_now("t")
        time.sleep(0.005)  # the other thread shall get its turn
    executor.join()
    assert ended[0].result["notes"] == [*notes("a", 12), *notes("b", 30)]
    thin_now("t")
    assert (roots(address), values()) == (1, ended[0].result["notes"])


def test_p11_a_saver_that_cannot_delete_single_checkpoints_is_refused_with_history(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Before anything of the run is executed; and keep_last says that it does nothing."""
    lesser = "tests.integration.backend_servers:lesser_saver"
    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": lesser}
    refused = run("latest", "a")
    assert refused.status == "failed"
    assert refused.error is not None
    assert refused.error["type"] == "holdfast.errors.HistoryUnsupportedError"
    assert "delete_checkpoints" in refused.error["message"]
    kept = run_now(holdfast.enqueue("elsewhere-all", page("b", 3), thread_id="u"))
    assert kept.status == "succeeded"
    assert prune(Retention(keep_last=1)).skipped == 1
    assert "delete_checkpoints" in caplog.text
    (finding,) = examined()
    assert (finding.verdict, "history= of graph" in finding.detail) == ("wrong", True)
    close_backends()
