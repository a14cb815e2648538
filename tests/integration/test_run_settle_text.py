"""A run ends, or asks, whatever characters its error or its question holds (P1)."""

from __future__ import annotations

from typing import Any, TypedDict
from uuid import uuid4

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, interrupt

import holdfast
from holdfast.graphs import registry
from holdfast.persistence import ledger
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


@pytest.mark.parametrize(
    ("name", "status"),
    [("a\0b", "failed"), ("a\ud800b", "failed"), ("long " * 2000, "succeeded")],
    ids=["nul", "surrogate", "long"],
)
def test_p1_an_odd_name_of_a_node_does_not_keep_the_run_from_ending(name: str, status: str) -> None:
    graph = StateGraph(Text)
    graph.add_node(name, lambda state: {"said": "yes"})
    graph.add_edge(START, name)
    graph.add_edge(name, END)
    holdfast.register("odd-name")(lambda: graph)
    run = run_now(holdfast.enqueue("odd-name", {}))
    assert run.status == status, run.error  # LangGraph's own tables hold no such name


def test_p1_a_cache_key_of_any_length_does_not_keep_the_run_from_ending() -> None:
    key = "".join(str(uuid4()) for _ in range(500))
    graph = StateGraph(Text)
    graph.add_node("node", lambda state: {"said": "yes"}, cache_policy=CachePolicy(key_func=lambda _: key))
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    holdfast.register("odd-key")(lambda: graph)
    for _ in range(2):
        run = run_now(holdfast.enqueue("odd-key", {}))
        assert run.status == "succeeded", run.error
    assert [step.outcome for step in ledger.steps(run.id)] == ["cached"]
