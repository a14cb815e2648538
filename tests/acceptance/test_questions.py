"""P13, R7: whatever happens between a question and its answer, no answer reaches another question, and none is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import holdfast
from holdfast.errors import RunNotWaitingError, UnknownQuestionError
from holdfast.persistence import codec, ledger
from holdfast.runner.runs import process
from holdfast.runner.runs.attend import attend
from holdfast.runner.signals import run_settled
from tests.acceptance.asking.graphs import EXPECTED
from tests.acceptance.asking_driver import Driver, Passing, answer_to, at, passings, silence, take_lost_leases
from tests.acceptance.workers import Stage

every_graph = pytest.mark.parametrize("graph", EXPECTED)
each_sort = pytest.mark.parametrize(
    "graph", ["asking.twice", "asking.beside", "asking.below", "asking.below_beside", "asking.entrypoint"]
)


@pytest.fixture(autouse=True)
def no_bells(stage: Stage) -> Iterator[None]:
    with silence():
        yield
    process.here.start_afresh()


@pytest.fixture
def listener() -> Iterator[None]:
    """Somebody listens to run_settled, so that settling is a transaction that others write in too."""

    def hear(**_: Any) -> None:
        pass

    run_settled.connect(hear)
    yield
    run_settled.disconnect(hear)


@every_graph
def test_p13_killed_at_every_fault_point(graph: str) -> None:
    _kill_everywhere(graph)


@pytest.mark.parametrize("graph", ["asking.beside", "asking.below_beside"])
def test_p13_answered_one_by_one_and_killed_at_every_fault_point(graph: str) -> None:
    _kill_everywhere(graph, partially=True)


def _kill_everywhere(graph: str, *, partially: bool = False) -> None:
    for passing in passings(graph, partially=partially):
        driver = Driver(graph, partially=partially)
        # A thread that has stored a task's writes passes the point behind beside the run, maybe after its end.
        may_come_late = passing[0] == "writes-after-commit"
        assert driver.killed_at(passing) or may_come_late, f"{passing} was not reached"
        take_lost_leases()
        driver.go_on()
        _check(driver, passing)


@each_sort
def test_p13_handed_over_at_every_fault_point(graph: str) -> None:
    for passing in before_commits(graph):
        driver = Driver(graph, partially=False)
        with at(passing, lambda: process.here().drain()):
            driver.go_on()
        _check(driver, passing)


@each_sort
def test_p13_p2_finished_by_another_while_the_first_stands_still_at_every_fault_point(graph: str) -> None:
    for passing in before_commits(graph):
        driver = Driver(graph, partially=False)
        left: list[Any] = []

        def another(driver: Driver = driver, left: list[Any] = left) -> None:
            left.extend(driver.finished_by_another())

        with at(passing, another):
            driver.go_on()
        _check(driver, passing)
        assert driver.written() == left, f"the one that stood still at {passing} wrote something"


@pytest.mark.usefixtures("listener")
def test_p13_killed_while_somebody_listens_to_settling() -> None:
    _kill_everywhere("asking.twice")


def before_commits(graph: str) -> list[Passing]:
    """Where something is about to be written, claimed or asked; the points behind a commit tell a kill only."""
    return [
        (name, number)
        for name, number in passings(graph, partially=False)
        # The answer's own transaction holds the run: whoever takes over would wait for it, and there is nothing to take.
        if ("before" in name and name != "resume-before-commit")
        or name in {"claim-after-commit", "resume-after-commit"}
    ]


def _check(driver: Driver, passing: Passing) -> None:
    try:
        driver.check()
    except AssertionError as error:
        raise AssertionError(f"disturbed at {passing}: {error}") from error


def test_p13_a_late_answer_does_not_reach_the_tasks_next_question() -> None:
    driver = Driver("asking.twice", partially=False)
    attend(driver.run_id)
    (first,) = ledger.get(driver.run_id).questions
    holdfast.resume(driver.run_id, {first.id: answer_to(first.value)})
    driver.accepted[first.value] += 1
    attend(driver.run_id)
    (second,) = ledger.get(driver.run_id).questions
    assert (first.value, second.value) == ("one?", "two?")
    with pytest.raises(UnknownQuestionError):
        holdfast.resume(driver.run_id, {first.id: "late"})
    driver.go_on()
    driver.check()


def test_p13_of_two_answers_to_one_reading_only_the_first_is_taken() -> None:
    driver = Driver("asking.twice", partially=False)
    attend(driver.run_id)
    reading = ledger.get(driver.run_id)
    holdfast.resume(reading.id, answer_to("one?"))
    driver.accepted["one?"] += 1
    late = codec.dumps({reading.questions[0].id: "late"}, field="answer")
    assert ledger.answer(reading, late, to=[]) is None
    with pytest.raises(RunNotWaitingError):
        holdfast.resume(reading.id, "late")
    attend(driver.run_id)  # it asks again, under the same interrupt id
    assert ledger.answer(reading, late, to=[]) is None
    driver.go_on()
    driver.check()
