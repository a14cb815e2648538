"""P13, R7: what a run shows of its questions, from the answer to the end."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest
from django.db import connection
from langgraph.func import task
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

import holdfast
from holdfast.graphs import registry
from holdfast.persistence import ledger
from holdfast.persistence.ids import new_token
from holdfast.persistence.models import RunRow
from holdfast.persistence.records import Run, Session
from holdfast.runner.management.facts import run_facts
from holdfast.testing import run_now
from tests.integration.lifecycle import bells

__all__ = ["bells"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("bells", "_registered")]


class Said(TypedDict, total=False):
    """What two nodes beside each other were answered."""

    left: str
    right: str


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.all()  # what is found by discovery stays
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))


def _beside() -> StateGraph[Said, None, Said, Said]:
    graph = StateGraph(Said)
    for name in ("left", "right"):

        def node(state: Said, name: str = name) -> Any:
            return {name: interrupt(f"{name}?")}

        graph.add_node(name, node)
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    return graph


def _half_answered() -> Run:
    """Two questions were asked, and the left one has been answered."""
    holdfast.register("two-beside")(_beside)
    asking = run_now(holdfast.enqueue("two-beside", {}))
    ids = {question.value: question.id for question in asking.questions}
    return holdfast.resume(asking.id, {ids["left?"]: "answer"})


def _open(run: Run) -> list[Any]:
    return [question.value for question in run.questions]


def test_p13_only_what_is_still_open_is_shown_between_an_answer_and_the_next_question() -> None:
    queued = _half_answered()
    assert (queued.status, _open(queued)) == ("queued", ["right?"])
    assert _open(holdfast.get(queued.id)) == ["right?"]
    assert [question["value"] for question in run_facts(queued)["questions"]] == ["right?"]

    waiting = run_now(queued)
    assert (waiting.status, _open(waiting)) == ("interrupted", ["right?"])
    queued = holdfast.resume(queued.id, "answer")
    assert (queued.status, _open(queued)) == ("queued", [])
    assert run_now(queued).result == {"left": "answer", "right": "answer"}


def test_p13_an_answered_question_stays_with_the_claim_that_sends_the_answer() -> None:
    queued = _half_answered()
    session = Session(pid=None, start=None)
    claim = ledger.claim(
        queued.id, token=new_token(), owner="o", session=session, alone=False, known=[("two-beside", "1")]
    )
    assert claim is not None
    assert (_open(claim.run), [question.value for question in claim.asked]) == (
        ["right?"],
        ["left?", "right?"],
    )
    assert (_open(holdfast.get(queued.id)), holdfast.get(queued.id).status) == (["right?"], "running")


def test_a_question_names_the_node_or_the_task_that_asks() -> None:
    @task
    def ask_the_boss(text: str) -> Any:
        return interrupt(text)

    def node(state: Said) -> Any:
        return {"left": ask_the_boss("task?").result(), "right": interrupt("node?")}

    holdfast.register("asks-in-a-task")(
        lambda: StateGraph(Said).add_node("review", node).add_edge(START, "review")
    )
    run = run_now(holdfast.enqueue("asks-in-a-task", {}))
    for name, text in (("ask_the_boss", "task?"), ("review", "node?")):
        (question,) = run.questions
        assert (question.node, question.value) == (name, text)
        run = run_now(holdfast.resume(run.id, "yes"))
    assert run.status == "succeeded"


def test_a_run_that_is_given_up_between_answer_and_question_asks_nothing() -> None:
    queued = _half_answered()
    RunRow.objects.filter(id=queued.id).update(max_crashes=1)
    session = Session(pid=None, start=None)
    assert ledger.claim(
        queued.id, token=new_token(), owner="o", session=session, alone=False, known=[("two-beside", "1")]
    )
    ledger.sweep_lost()  # makes the incarnation's mark, at today's time
    with connection.cursor() as cursor:
        cursor.execute("SET holdfast.clock_offset = '1 hour'")
        try:
            ledger.sweep_lost()
        finally:
            cursor.execute("RESET holdfast.clock_offset")
    assert (holdfast.get(queued.id).status, holdfast.get(queued.id).questions) == ("failed", ())
