"""What stores a node's results does not wait for nodes that have not begun, nor cost more than it must (P3)."""

from __future__ import annotations

import operator
import threading
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels import DeltaChannel
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

import holdfast
from holdfast.graphs.registry import register
from holdfast.persistence.models import CheckpointWrite
from holdfast.persistence.saver import asynchronous, calls, synchronous
from holdfast.persistence.saver.statements import Statements
from holdfast.testing import run_now

WIDTH = 12
seen: dict[int, int] = {}
_order = threading.Lock()


class State(TypedDict, total=False):
    done: Annotated[list[int], operator.add]


def joined(before: list[int], updates: list[list[int]]) -> list[int]:
    return [*before, *(number for update in updates for number in update)]


class Numbers(TypedDict):
    numbers: Annotated[list[int], DeltaChannel(joined)]


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


async def aone(state: Numbers) -> dict[str, Any]:
    return {"numbers": [len(state["numbers"])]}


def one(state: Numbers) -> dict[str, Any]:
    return {"numbers": [len(state["numbers"])]}


def numbers(node: Any, steps: int = 5) -> StateGraph[Numbers, None, Numbers, Numbers]:
    graph = StateGraph(Numbers)
    names = [f"step_{number}" for number in range(steps)]
    for name in names:
        graph.add_node(name, node)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph


@register("delta-chain")
def delta_chain() -> StateGraph[Numbers, None, Numbers, Numbers]:
    return numbers(one)


@register("delta-chain-async")
def delta_chain_async() -> StateGraph[Numbers, None, Numbers, Numbers]:
    return numbers(aone)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the saver's statements, in the order in which they are sent; no time is ever up."""
    sent: list[str] = []
    rows, arows = Statements.rows, Statements.arows

    def recording(self: Any, ask: Any) -> Any:
        sent.append(ask.name)
        return rows(self, ask)

    async def arecording(self: Any, ask: Any) -> Any:
        sent.append(ask.name)
        return await arows(self, ask)

    monkeypatch.setattr(Statements, "rows", recording)
    monkeypatch.setattr(Statements, "arows", arecording)
    monkeypatch.setattr(synchronous, "flush_later", lambda *later: None)
    monkeypatch.setattr(asynchronous, "aflush_later", lambda *later: None)
    return sent


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("graph", ["delta-chain", "delta-chain-async"])
@pytest.mark.parametrize("concurrency", [None, 1])
def test_a_step_costs_one_statement_also_of_a_delta_channel(
    graph: str, concurrency: int | None, statements: list[str]
) -> None:
    config = {"max_concurrency": concurrency} if concurrency else None
    run = run_now(holdfast.enqueue(graph, {"numbers": [7]}, config=config))
    assert run.status == "succeeded", run.error
    assert run.result["numbers"] == [7, 1, 2, 3, 4, 5]
    assert statements == ["saver_get", *["saver_put_fenced"] * 7]
    again = run_now(holdfast.enqueue(graph, {"numbers": [8]}, thread_id=run.thread_id))
    assert again.result["numbers"] == [7, 1, 2, 3, 4, 5, 8, 7, 8, 9, 10, 11]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("graph", ["delta-chain", "delta-chain-async"])
def test_a_delta_channels_checkpoint_is_not_stored_without_its_writes(
    graph: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = calls.write_rows

    def fails_once(serde: Any, key: Any, task_id: str, writes: Any) -> Any:
        if any(channel == "numbers" and value == [3] for channel, value in writes):
            raise ValueError("cannot be stored")
        return encode(serde, key, task_id, writes)

    monkeypatch.setattr(calls, "write_rows", fails_once)
    run = run_now(holdfast.enqueue(graph, {"numbers": [7]}))
    assert run.status == "failed"
    assert holdfast.state(run.thread_id).values["numbers"] == [7, 1, 2]
