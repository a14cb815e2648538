"""P5: real workers that need one cached value at the same time compute it once, unless the one that computes dies."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import holdfast
from holdfast.persistence.models import NodeFlight
from holdfast.persistence.records import Run
from tests.acceptance.asking import sharing as sharing  # registers its graphs here, too
from tests.acceptance.execution_log import ExecutionLog
from tests.acceptance.trials import LONG_LEASE, PATIENCE, take_overs
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage

GRAPHS = ("sharing", "sharing_async", "sharing_calls")
SHORT_LEASE: dict[str, Any] = {"LEASE": 5.0, "IDLE_IN_TRANSACTION": 4.0}


class Values:
    """The values that a test's runs share: who computed them, and the gates that hold it up."""

    def __init__(self, stage: Stage) -> None:
        self._gate = stage.directory / "value"
        self.log = ExecutionLog(Path(f"{self._gate}.log"))

    def enqueue(self, graph: str, *keys: int, fails: bool = False, **options: Any) -> UUID:
        value = {"keys": list(keys), "gate": str(self._gate), "fails": fails}
        return holdfast.enqueue(graph, value, **options).id

    def let_go(self, *keys: int) -> None:
        for key in keys:
            Path(f"{self._gate}.{key}").touch()

    def computed(self, key: int) -> int:
        """How often computing it began."""
        return self.log.begun()[0, key]

    def wait_begun(self, key: int, times: int = 1) -> None:
        until(lambda: self.computed(key) == times, PATIENCE, f"value {key} is begun {times} times")

    def process_of(self, key: int) -> int:
        """That computes it at the moment."""
        return self.log.in_flight()[0, key]


@pytest.fixture
def values(stage: Stage) -> Values:
    return Values(stage)


def succeeded(run_id: UUID) -> list[str]:
    run = holdfast.wait(run_id, timeout=PATIENCE)
    assert run.status == "succeeded", run.error
    return sorted(run.result["done"])


def wait_running(*runs: UUID) -> list[Run]:
    until(
        lambda: all(holdfast.get(run).status == "running" for run in runs), PATIENCE, "all are being executed"
    )
    return [holdfast.get(run) for run in runs]


def test_p5_twenty_processes_that_ask_at_once_compute_once(stage: Stage, values: Values) -> None:
    stage.worker(concurrency=20)
    runs = [values.enqueue("sharing", 0) for _ in range(20)]
    owners = {run.owner for run in wait_running(*runs)}
    assert len(owners) == 20
    values.wait_begun(0)
    values.let_go(0)
    results = [succeeded(run) for run in runs]
    assert values.computed(0) == 1
    assert all(result == results[0] for result in results)
    assert not NodeFlight.objects.exists()


@pytest.mark.parametrize("graph", GRAPHS)
def test_p5_threads_of_two_processes_compute_once(stage: Stage, values: Values, graph: str) -> None:
    for _ in range(2):
        stage.worker(pool="threads", concurrency=6)
    runs = [values.enqueue(graph, 0, 1) for _ in range(12)]
    assert len({run.owner for run in wait_running(*runs)}) == 2
    values.wait_begun(0)
    values.wait_begun(1)
    values.let_go(0, 1)
    results = [succeeded(run) for run in runs]
    assert (values.computed(0), values.computed(1)) == (1, 1)
    assert all(result == results[0] for result in results)
    assert not NodeFlight.objects.exists()


@pytest.mark.parametrize("graph", GRAPHS)
def test_p5_p8_a_leader_that_is_killed_is_replaced_while_its_lease_is_unexpired(
    stage: Stage, values: Values, graph: str
) -> None:
    workers = [stage.worker(concurrency=1, holdfast=LONG_LEASE) for _ in range(2)]
    runs = [values.enqueue(graph, 0) for _ in range(2)]
    wait_running(*runs)
    values.wait_begun(0)
    leader = values.process_of(0)
    killed = next(worker for worker in workers if leader in worker.children)
    left = next(worker for worker in workers if worker is not killed)
    killed.kill()
    values.wait_begun(0, 2)
    assert values.process_of(0) in left.children
    assert [each.cause for each in take_overs(left)] == ["session gone"]
    values.let_go(0)
    first, second = (succeeded(run) for run in runs)
    assert first == second
    assert values.computed(0) == 2  # the killed one's run took the value, too


@pytest.mark.parametrize("graph", ["sharing", "sharing_async"])
def test_p5_a_leader_that_is_frozen_is_replaced_within_its_lease_and_stores_nothing_afterwards(
    stage: Stage, values: Values, graph: str
) -> None:
    workers = [stage.worker(concurrency=1, holdfast=SHORT_LEASE) for _ in range(2)]
    runs = [values.enqueue(graph, 0) for _ in range(2)]
    wait_running(*runs)
    values.wait_begun(0)
    first = values.process_of(0)
    frozen = next(worker for worker in workers if first in worker.children)
    frozen.stop()
    values.wait_begun(0, 2)
    second = values.process_of(0)
    left = next(worker for worker in workers if worker is not frozen)
    until(lambda: bool(take_overs(left)), PATIENCE, "its run is somebody else's")
    frozen.cont()
    values.let_go(0)  # both come to their end, the frozen one perhaps before the other
    assert [succeeded(run) for run in runs] == [[f"0 of {second}"]] * 2
    assert values.computed(0) == 2


@pytest.mark.parametrize("graph", GRAPHS)
def test_p5_a_leader_that_fails_is_replaced(stage: Stage, values: Values, graph: str) -> None:
    stage.worker(concurrency=2)
    failing = values.enqueue(graph, 0, fails=True)
    values.wait_begun(0)
    other = values.enqueue(graph, 0)
    wait_running(other)
    values.let_go(0)
    assert len(succeeded(other)) == 1
    run = holdfast.wait(failing, timeout=PATIENCE)
    assert (run.status, (run.error or {}).get("type")) == ("failed", "ValueError")
    assert values.computed(0) == 2


def test_p5_two_workers_that_need_two_keys_in_opposite_order_do_not_wait_for_each_other(
    stage: Stage, values: Values
) -> None:
    for _ in range(2):
        stage.worker(concurrency=1)
    runs = [values.enqueue("sharing_nested", *keys) for keys in ((1, 2), (2, 1))]
    wait_running(*runs)
    values.wait_begun(1)
    values.wait_begun(2)  # each computes its first value, in which it needs the other's
    values.let_go(1, 2)
    assert [len(succeeded(run)) for run in runs] == [2, 2]
    assert 3 <= values.computed(1) + values.computed(2) <= 4
    assert not NodeFlight.objects.exists()


@pytest.mark.parametrize("graph", GRAPHS)
def test_p5_two_workers_share_a_fan_out_in_opposite_order(stage: Stage, values: Values, graph: str) -> None:
    for _ in range(2):
        stage.worker(concurrency=1)
    keys = list(range(12))
    values.let_go(*keys)
    runs = [values.enqueue(graph, *each, config={"max_concurrency": 2}) for each in (keys, keys[::-1])]
    first, second = (succeeded(run) for run in runs)
    assert first == second
    assert [values.computed(key) for key in keys] == [1] * 12


@pytest.mark.parametrize("graph", GRAPHS)
def test_p5_one_busy_key_holds_up_none_of_its_siblings(stage: Stage, values: Values, graph: str) -> None:
    stage.worker(concurrency=2)
    busy = values.enqueue(graph, 0)
    values.wait_begun(0)
    values.let_go(*range(1, 8))
    places = 2 if graph == "sharing_calls" else 1  # an entrypoint's body takes one itself
    run = values.enqueue(graph, *range(8), config={"max_concurrency": places})
    until(lambda: sum(values.log.ended().values()) == 7, PATIENCE, "all others are computed while it is busy")
    assert holdfast.get(run).status == "running"
    values.let_go(0)
    assert len(succeeded(run)) == 8
    assert len(succeeded(busy)) == 1
    assert [values.computed(key) for key in range(8)] == [1] * 8


@pytest.mark.parametrize("graph", GRAPHS)
def test_r13_r14_a_run_that_waits_is_cancelled_and_handed_over_at_once(
    stage: Stage, values: Values, graph: str
) -> None:
    stage.worker(concurrency=1)
    busy = values.enqueue(graph, 0)
    values.wait_begun(0)
    other = stage.worker(concurrency=2)
    cancelled, handed_over = (values.enqueue(graph, 0) for _ in range(2))
    wait_running(cancelled, handed_over)
    holdfast.cancel(cancelled)
    assert holdfast.wait(cancelled, timeout=PATIENCE).status == "cancelled"
    other.term()
    assert other.wait_end(PATIENCE) == 0
    until(lambda: holdfast.get(handed_over).status == "queued", PATIENCE, "it is handed over")
    assert holdfast.get(handed_over).crashes == 0
    assert values.log.in_flight(), "all the while the value was being computed"
    values.let_go(0)
    assert succeeded(busy) == succeeded(handed_over)
    assert values.computed(0) == 1
