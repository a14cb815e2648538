"""R12: who executes alone in a process, and when the others are let in again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

from holdfast.runner.runs.process import Place, Process

LONG = 30.0  # seconds that nobody waits for


def entered(place: AbstractContextManager[Place | None]) -> Place | None:
    return place.__enter__()


def waiting(process: Process, work: Callable[[], Any], pool: ThreadPoolExecutor) -> Future[Any]:
    """The work on another thread, once that thread waits for the gate."""
    before = len(process._changed._waiters)
    future = pool.submit(work)
    while len(process._changed._waiters) == before and not future.done():
        pass
    return future


def test_r12_nobody_enters_beside_a_run_that_is_alone() -> None:
    process = Process()
    with process.place(alone=True, patience=0) as lone:
        assert lone is not None
        with process.place(patience=0.01) as other:
            assert other is None
    with process.place(patience=0) as other:
        assert other is not None


def test_r12_the_last_neighbour_to_leave_does_not_end_the_solitude_that_was_waited_for() -> None:
    process = Process()
    neighbour = process.place(patience=0)
    entered(neighbour)
    with ThreadPoolExecutor(1) as pool:
        lone = process.place(alone=True, patience=LONG)
        future = waiting(process, lambda: entered(lone), pool)
        neighbour.__exit__(None, None, None)
        assert future.result() is not None
    with process.place(patience=0.01) as other:
        assert other is None
    lone.__exit__(None, None, None)


def test_r12_neighbours_enter_again_once_the_lone_run_has_moved_on() -> None:
    process = Process()
    with process.place(alone=True, patience=0) as lone, ThreadPoolExecutor(1) as pool:
        assert lone is not None
        other = process.place(patience=LONG)
        future = waiting(process, lambda: entered(other), pool)
        assert not future.done()
        process.admit_others(lone)
        assert future.result() is not None


def test_r12_a_run_that_moved_on_does_not_end_the_solitude_of_the_next() -> None:
    process = Process()
    first = process.place(alone=True, patience=0)
    moved_on = entered(first)
    assert moved_on is not None
    process.admit_others(moved_on)
    with ThreadPoolExecutor(1) as pool:
        second = process.place(alone=True, patience=LONG)
        future = waiting(process, lambda: entered(second), pool)
        process.admit_others(moved_on)  # the heartbeat says it again and again
        assert not future.done()
        first.__exit__(None, None, None)
        assert future.result() is not None
    with process.place(patience=0.01) as other:
        assert other is None
    second.__exit__(None, None, None)


def test_r12_giving_up_the_wait_for_solitude_lets_the_others_in_and_keeps_the_count() -> None:
    process = Process()
    with process.place(patience=0):
        with process.place(alone=True, patience=0.01) as lone:
            assert lone is None
        with process.place(patience=0) as other:
            assert other is not None
    with process.place(alone=True, patience=0) as lone:
        assert lone is not None
