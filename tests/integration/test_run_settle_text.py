"""A run ends, or asks, whatever characters its error or its question holds (P1)."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

import holdfast
from holdfast.graphs import registry
from holdfast.testing import run_now

pytestmark = pytest.mark.django_db(transaction=True)


class Text(TypedDict, total=False):
    """Nothing much."""

    said: str


def _one_node(node: Any) -> StateGraph[Text, None, Text, Text]:
    graph = StateGraph(Text)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return graph


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.all()  # what is found by discovery stays
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))


@pytest.mark.parametrize("odd", ["\0", "\ud800"])
def test_p1_an_odd_character_in_an_error_does_not_keep_the_run_from_failing(odd: str) -> None:
    def node(state: Text) -> Text:
        raise ValueError(f"file {odd}")

    holdfast.register("odd-error")(lambda: _one_node(node))
    run = run_now(holdfast.enqueue("odd-error", {}))
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["message"] == "file \ufffd"


def test_p13_an_odd_character_in_a_question_does_not_keep_the_run_from_asking() -> None:
    def node(state: Text) -> Text:
        return {"said": interrupt({"ask": "a\0b"})}

    holdfast.register("odd-question")(lambda: _one_node(node))
    run = run_now(holdfast.enqueue("odd-question", {}))
    assert run.status == "interrupted"
    assert run.questions[0].value == {"ask": "a\ufffdb"}
    holdfast.resume(run.id, "yes")
    assert run_now(run).result == {"said": "yes"}
