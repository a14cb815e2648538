"""Takes a run that asks from its start to its end, and ends or disturbs it at one passing of one fault point.

No worker and no broker: the driver attends to the run itself, in this process or in a forked one that is
really killed. What it answers names the question, so that an answer that went astray shows in the result.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from django.db import connection, connections

import holdfast
from holdfast import faults
from holdfast.errors import RunFailedError
from holdfast.persistence import ledger
from holdfast.persistence.connections import close_pools
from holdfast.persistence.ids import RunId
from holdfast.persistence.models import RunRow, RunStatus
from holdfast.persistence.records import Run
from holdfast.runner import dispatch
from holdfast.runner.runs import process
from holdfast.runner.runs.attend import attend
from tests.acceptance.asking.graphs import EXPECTED
from tests.acceptance.waiting import until

Passing = tuple[str, int]
"""A fault point, and the how many-th passing of it."""
MOST_ROUNDS = 30


def answer_to(question: str) -> str:
    """What every driver answers."""
    return f"answer to {question}"


class Driver:
    """One run of one graph. ``partially``: it answers one question at a time."""

    def __init__(self, graph: str, *, partially: bool) -> None:
        self.graph = graph
        self.partially = partially
        self.run_id: RunId = holdfast.enqueue(graph, {"answers": {}, "done": []}).id
        self.accepted: Counter[str] = Counter()
        """How often an answer to each question was accepted."""

    def go_on(self, tell: Callable[[str], None] = lambda text: None) -> None:
        """Attend and answer until the run has ended. ``tell`` hears of each answer, before it is given."""
        for _ in range(MOST_ROUNDS):
            run = ledger.get(self.run_id)
            if run.status.ended:
                return
            if run.status is RunStatus.INTERRUPTED:
                self._answer(run, tell)
            if process.here().draining:  # another process takes over
                process.here.start_afresh()
            try:
                attend(self.run_id)
            except RunFailedError:
                return
        raise AssertionError(f"it does not end: {ledger.get(self.run_id)}")

    def _answer(self, run: Run, tell: Callable[[str], None]) -> None:
        assert [question.value for question in run.questions if not question.node] == []
        chosen = run.questions[-1:] if self.partially else run.questions
        tell("\n".join(question.value for question in chosen))
        holdfast.resume(run.id, {question.id: answer_to(question.value) for question in chosen})
        self.accepted.update(question.value for question in chosen)

    def check(self) -> None:
        """Every question was answered once, with its own answer, and every node finished once."""
        run = ledger.get(self.run_id)
        assert run.status is RunStatus.SUCCEEDED, run.error
        questions, done = EXPECTED[self.graph]
        assert run.result["answers"] == {question: answer_to(question) for question in questions}
        assert sorted(run.result["done"]) == done
        assert self.accepted == dict.fromkeys(questions, 1)

    def killed_at(self, passing: Passing) -> bool:
        """Drive in a forked process that is killed there, and notice what it had answered by then."""
        reader, writer = os.pipe()

        def drive() -> None:
            with at(passing, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                self.go_on(lambda text: _write(writer, text))

        child = fork(drive)
        os.close(writer)
        with os.fdopen(reader) as told:
            answered = [text.split("\n") for text in told.read().split("\0")[:-1]]
        _, status = os.waitpid(child, 0)
        self._count(answered)
        return os.WIFSIGNALED(status)

    def _count(self, answered: list[list[str]]) -> None:
        for values in answered[:-1]:
            self.accepted.update(values)
        if answered:  # the last one counts if it was committed
            run = ledger.get(self.run_id)
            waiting = {question.value for question in run.questions}
            if run.status is not RunStatus.INTERRUPTED or not waiting >= set(answered[-1]):
                self.accepted.update(answered[-1])

    def finished_by_another(self) -> list[Any]:
        """Another thread takes the run over, as a worker does from one that stands still, and ends it.

        Returns what is written by then.
        """

        def take_over() -> list[Any]:
            try:
                take_lost_leases()
                self.go_on()
                return self.written()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(1) as other:
            return other.submit(take_over).result()

    def written(self) -> list[Any]:
        """All that the run has left behind."""
        row = RunRow.objects.filter(id=self.run_id).values(
            "status", "deliveries", "result", "error", "finished_at", "token", "settled_by"
        )
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT checkpoint_ns, checkpoint_id, task_id, idx, channel, blob FROM checkpoint_writes"
                " WHERE thread_id = %s ORDER BY 1, 2, 3, 4",
                [str(self.run_id)],
            )
            writes = cursor.fetchall()
            cursor.execute(
                "SELECT checkpoint_ns, checkpoint_id, checkpoint FROM checkpoints WHERE thread_id = %s ORDER BY 1, 2",
                [str(self.run_id)],
            )
            return [list(row), writes, cursor.fetchall()]


def _write(descriptor: int, text: str) -> None:
    os.write(descriptor, text.encode() + b"\0")


def take_lost_leases() -> None:
    """Sweep an hour later than it is: whoever executes something now is taken for dead."""
    ledger.sweep_lost()  # makes the incarnation's mark, at today's time
    with connection.cursor() as cursor:
        cursor.execute("SET holdfast.clock_offset = '1 hour'")
        try:
            # The sweep passes over a run whose last statement, or that of its dead process, is not done yet.
            until(_swept, 10, "every lost lease is found")
        finally:
            cursor.execute("RESET holdfast.clock_offset")


def _swept() -> bool:
    ledger.sweep_lost()
    return not RunRow.objects.filter(status=RunStatus.RUNNING).exists()


@contextmanager
def at(passing: Passing, act: Callable[[], None]) -> Iterator[None]:
    """``act`` at that passing, in the thread that passes."""
    name, number = passing
    passed = 0
    lock = threading.Lock()

    def point(reached: str) -> None:
        nonlocal passed
        if reached != name:
            return
        with lock:
            passed += 1
            due = passed == number
        if due:
            act()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faults, "point", point)
        yield


def passings(graph: str, *, partially: bool) -> list[Passing]:
    """Every passing of every fault point on the way of an undisturbed run of the graph."""
    passed: Counter[str] = Counter()
    lock = threading.Lock()

    def point(reached: str) -> None:
        with lock:
            passed[reached] += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faults, "point", point)
        driver = Driver(graph, partially=partially)
        passed.clear()  # of enqueue
        driver.go_on()
    driver.check()
    return [(name, number + 1) for name, count in sorted(passed.items()) for number in range(count)]


@contextmanager
def silence() -> Iterator[None]:
    """No bell is rung: the drivers need none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "ring_all", lambda bells: 0)
        yield


class Mortal:
    """A run whose every attempt is made in a forked process, which it may end."""

    def __init__(self, graph: str, value: dict[str, Any]) -> None:
        self.run_id: RunId = holdfast.enqueue(graph, value).id

    @property
    def run(self) -> Run:
        """How it stands."""
        return ledger.get(self.run_id)

    def attend(self) -> int:
        """One attempt; the exit status of its process."""
        child = fork(lambda: attend(self.run_id))
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork(work: Callable[[], object]) -> int:
    """A child process that does the work and ends with 0, or with 1 after an error; its process id."""
    connections.close_all()  # a socket must not be shared with the child
    close_pools()
    if (child := os.fork()) == 0:
        gc.disable()  # it would copy every page that it looks at
        SyncToAsync.single_thread_executor = ThreadPoolExecutor(1)  # its thread did not come along
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child
