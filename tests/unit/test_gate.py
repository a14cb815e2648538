"""R12: who executes alone in a process, and when the others are let in again."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest

from holdfast.runner.runs import gate
from holdfast.runner.runs.gate import Admission
from holdfast.runner.runs.process import Process

LONG = 30.0  # seconds that nobody waits for


def entered(admission: AbstractContextManager[Admission | None]) -> Admission | None:
    return admission.__enter__()


def waiting(process: Process, work: Callable[[], Any], pool: ThreadPoolExecutor) -> Future[Any]:
    """The work on another thread, once that thread waits for the gate."""
    before = len(process._changed._waiters)
    future = pool.submit(work)
    while len(process._changed._waiters) == before and not future.done():
        pass
    return future


def test_r12_nobody_enters_beside_a_run_that_is_alone() -> None:
    process = Process()
    with process.gate.admission(alone=True, patience=0) as lone:
        assert lone is not None
        with process.gate.admission(patience=0.01) as other:
            assert other is None
    with process.gate.admission(patience=0) as other:
        assert other is not None


def test_r12_the_last_neighbour_to_leave_does_not_end_the_solitude_that_was_waited_for() -> None:
    process = Process()
    neighbour = process.gate.admission(patience=0)
    entered(neighbour)
    with ThreadPoolExecutor(1) as pool:
        lone = process.gate.admission(alone=True, patience=LONG)
        future = waiting(process, lambda: entered(lone), pool)
        neighbour.__exit__(None, None, None)
        assert future.result() is not None
    with process.gate.admission(patience=0.01) as other:
        assert other is None
    lone.__exit__(None, None, None)


def test_r12_neighbours_enter_again_once_the_lone_run_has_moved_on() -> None:
    process = Process()
    with process.gate.admission(alone=True, patience=0) as lone, ThreadPoolExecutor(1) as pool:
        assert lone is not None
        other = process.gate.admission(patience=LONG)
        future = waiting(process, lambda: entered(other), pool)
        assert not future.done()
        process.gate.admit_others(lone)
        assert future.result() is not None


def test_r12_a_run_that_moved_on_does_not_end_the_solitude_of_the_next() -> None:
    process = Process()
    first = process.gate.admission(alone=True, patience=0)
    moved_on = entered(first)
    assert moved_on is not None
    process.gate.admit_others(moved_on)
    with ThreadPoolExecutor(1) as pool:
        second = process.gate.admission(alone=True, patience=LONG)
        future = waiting(process, lambda: entered(second), pool)
        process.gate.admit_others(moved_on)  # the heartbeat says it again and again
        assert not future.done()
        first.__exit__(None, None, None)
        assert future.result() is not None
    with process.gate.admission(patience=0.01) as other:
        assert other is None
    second.__exit__(None, None, None)


def test_r12_giving_up_the_wait_for_solitude_lets_the_others_in_and_keeps_the_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "TURN", 0.01)
    process = Process()
    with process.gate.admission(patience=0):
        with process.gate.admission(alone=True, patience=0.01) as lone:
            assert lone is None
        with process.gate.admission(patience=0) as other:
            assert other is not None
    time.sleep(0.05)  # as long as the gate was closed, and longer
    with process.gate.admission(alone=True, patience=0) as lone:
        assert lone is not None


def test_r12_a_node_that_outlasts_the_turn_keeps_the_gate_closed_half_of_the_time_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "TURN", 0.2)
    process = Process()
    with process.gate.admission(patience=0):  # a neighbour in a node of hours
        began = time.monotonic()
        with process.gate.admission(alone=True, patience=0.1) as lone:
            assert lone is None
        closed = time.monotonic() - began
        while time.monotonic() < began + 2 * closed - 0.05:
            with process.gate.admission(patience=0) as other:
                assert other is not None
            with process.gate.admission(alone=True, patience=0) as lone:
                assert lone is None
    time.sleep(closed)  # the gate goes by the clock
    with process.gate.admission(alone=True, patience=0) as lone:
        assert lone is not None


def test_r13_a_process_that_is_told_to_go_does_not_wait_for_solitude() -> None:
    process = Process()
    with process.gate.admission(patience=0), ThreadPoolExecutor(1) as pool:
        future = waiting(process, lambda: entered(process.gate.admission(alone=True, patience=LONG)), pool)
        process.drain()
        assert future.result(5) is None
