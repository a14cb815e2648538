"""P3: in a fan-out wider than LangGraph's pool, a finished node's writes do not wait for nodes that have not begun."""

from __future__ import annotations

import operator
import threading
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

import holdfast
from holdfast.graphs.registry import register
from holdfast.persistence.models import CheckpointWrite
from holdfast.testing import run_now

WIDTH = 12
seen: dict[int, int] = {}
_order = threading.Lock()


class State(TypedDict, total=False):
    done: Annotated[list[int], operator.add]


class One(TypedDict):
    number: int


def _stored() -> int:
    return CheckpointWrite.objects.filter(channel="done").count()


def sibling(one: One) -> dict[str, Any]:
    """All but the first wait until the first one's result is stored, or for two seconds."""
    if one["number"] == 0:
        return {"done": [0]}
    waited = threading.Event()
    for _ in range(200):
        if _stored():
            break
        waited.wait(0.01)
    with _order:
        seen[one["number"]] = _stored()
    return {"done": [one["number"]]}


@register("wide-fan-out")
def wide() -> StateGraph[State, None, State, State]:
    graph = StateGraph(State)
    graph.add_node("sibling", sibling)
    graph.add_conditional_edges(START, lambda state: [Send("sibling", {"number": n}) for n in range(WIDTH)])
    graph.add_edge("sibling", END)
    return graph


@pytest.mark.django_db(transaction=True)
def test_p3_a_finished_siblings_writes_are_stored_while_others_have_not_begun() -> None:
    run = run_now(holdfast.enqueue("wide-fan-out", {}, config={"max_concurrency": 2}))
    assert run.status == "succeeded", run.error
    assert sorted(run.result["done"]) == list(range(WIDTH))
    assert all(stored >= 1 for stored in seen.values()), seen
