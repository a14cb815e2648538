"""R14, R7: what a run without input leaves beside the checkpoint that it went on from, when it is rolled back."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

import holdfast
from holdfast.graphs.registry import register
from holdfast.persistence.models import CheckpointWrite
from holdfast.testing import run_now
from tests.integration.lifecycle import Committing, bells

__all__ = ["bells"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("bells")]


class State(TypedDict, total=False):
    """What the nodes have said."""

    notes: Annotated[list[str], operator.add]


def zero(state: State) -> dict[str, Any]:
    return {"notes": ["zero"]}


def quiet(state: State) -> dict[str, Any]:
    return {"notes": ["quiet"]}


def asks(state: State) -> dict[str, Any]:
    return {"notes": [f"{interrupt('one?')} {interrupt('two?')}"]}


@register("going_on.asks")
def graph() -> StateGraph[State, None, State, State]:
    """Two nodes beside each other, one of which asks twice."""
    built = StateGraph(State)
    for node in (zero, quiet, asks):
        built.add_node(node.__name__, node)
    built.add_edge(START, "zero")
    built.add_edge("zero", "quiet")
    built.add_edge("zero", "asks")
    return built


@pytest.mark.parametrize("displaced", [False, True])
def test_p13_the_next_run_without_input_takes_no_answer_of_one_that_was_rolled_back(
    displaced: bool, django_capture_on_commit_callbacks: Committing
) -> None:
    run = run_now(holdfast.enqueue("going_on.asks", {}, thread_id="t"))
    for _ in range(2):
        run = run_now(holdfast.resume(run.id, "kept"))
    fork_at = next(each for each in holdfast.history("t") if set(each.next) == {"quiet", "asks"})
    branch = holdfast.fork("t", fork_at.config["configurable"]["checkpoint_id"])
    written = CheckpointWrite.objects.filter(thread_id=branch)
    before = set(written.values_list("checkpoint_id", "task_id", "idx"))

    first = run_now(holdfast.enqueue("going_on.asks", None, thread_id=branch))
    first = run_now(holdfast.resume(first.id, "stale"))
    assert [question.value for question in first.questions] == ["two?"]
    with django_capture_on_commit_callbacks(execute=True):
        if displaced:
            second = holdfast.enqueue("going_on.asks", None, thread_id=branch, multitask_strategy="rollback")
        else:
            holdfast.cancel(first.id, rollback=True)
    assert set(written.values_list("checkpoint_id", "task_id", "idx")) == before
    if not displaced:
        second = holdfast.enqueue("going_on.asks", None, thread_id=branch)

    second = run_now(second)
    assert [question.value for question in second.questions] == ["one?"]
    for answer in ("new", "newer"):
        second = run_now(holdfast.resume(second.id, answer))
    assert sorted(second.result["notes"]) == ["new newer", "quiet", "zero"]
    assert sorted(holdfast.state("t").values["notes"]) == ["kept kept", "quiet", "zero"]
    assert {step.node for step in holdfast.steps(second.id)} == {"quiet", "asks"}
