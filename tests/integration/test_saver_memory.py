"""What a run's saver does not ask the database, as nobody else can have written it (P6); and what it does ask."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy

from holdfast.persistence import DjangoSaver
from holdfast.persistence.fence import Fence
from holdfast.persistence.models import Checkpoint, RunRow
from holdfast.persistence.saver.statements import Statements
from tests.integration.claims import State, claim, config_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The namespaces whose newest checkpoint is asked for."""
    namespaces: list[str] = []
    rows, arows = Statements.rows, Statements.arows

    def recording(self: Any, ask: Any) -> Any:
        if ask.name == "saver_get":
            namespaces.append(ask.params["checkpoint_ns"])
        return rows(self, ask)

    async def arecording(self: Any, ask: Any) -> Any:
        if ask.name == "saver_get":
            namespaces.append(ask.params["checkpoint_ns"])
        return await arows(self, ask)

    monkeypatch.setattr(Statements, "rows", recording)
    monkeypatch.setattr(Statements, "arows", arecording)
    return namespaces


executed: list[str] = []


def outer(failing: set[str], *, depth: int = 1, retry: RetryPolicy | None = None) -> Any:
    """Two subgraph calls, one after the other; each has two steps, of which one fails once."""

    def step(name: str) -> Any:
        def work(state: State) -> dict[str, Any]:
            executed.append(name)
            if name in failing:
                failing.discard(name)
                raise ValueError(name)
            return {"items": [name]}

        return work

    def level(name: str, left: int) -> Any:
        graph = StateGraph(State)
        graph.add_node("first", step(f"{name}.1"))
        graph.add_node("second", level(f"{name}.2", left - 1) if left else step(f"{name}.2"))
        graph.add_edge(START, "first")
        graph.add_edge("first", "second")
        graph.add_edge("second", END)
        return graph.compile()

    graph = StateGraph(State)
    graph.add_node("a", level("a", depth - 1), retry_policy=retry)
    graph.add_node("b", level("b", depth - 1), retry_policy=retry)
    graph.add_edge(START, "a")
    graph.add_edge("a", "b")
    graph.add_edge("b", END)
    return graph


@pytest.fixture(autouse=True)
def _fresh() -> None:
    executed.clear()


@pytest.mark.parametrize("depth", [1, 2])
def test_a_call_of_a_subgraph_asks_nothing_where_its_attempt_has_made_what_it_starts_from(
    asked: list[str], depth: int
) -> None:
    fence = claim()
    graph = outer(set(), depth=depth).compile(checkpointer=DjangoSaver(fence=fence))
    graph.invoke({"items": []}, config_for(fence.thread_id), durability="sync")
    assert asked == [""], "only where the run itself stands"
    spaces = set(Checkpoint.objects.filter(thread_id=fence.thread_id).values_list("checkpoint_ns", flat=True))
    assert len(spaces) == 1 + 2 * depth, "the calls have stored theirs"


def test_without_a_fence_every_call_asks(asked: list[str]) -> None:
    graph = outer(set()).compile(checkpointer=DjangoSaver())
    graph.invoke({"items": []}, config_for("plain"), durability="sync")
    assert len(asked) == 3


def test_p3_the_next_attempt_finds_where_a_call_had_stopped(asked: list[str]) -> None:
    first, failing = claim(), {"a.2"}
    graph = outer(failing)
    with pytest.raises(ValueError, match=r"a\.2"):
        graph.compile(checkpointer=DjangoSaver(fence=first)).invoke(
            {"items": []}, config_for(first.thread_id), durability="sync"
        )
    second = Fence(first.run_id, first.token, first.thread_id, entered=True)
    asked.clear()
    graph.compile(checkpointer=DjangoSaver(fence=second)).invoke(
        None, config_for(first.thread_id), durability="sync"
    )
    assert executed == ["a.1", "a.2", "a.2", "b.1", "b.2"]
    assert [namespace.partition(":")[0] for namespace in asked] == ["", "a"], (
        "b starts from its own checkpoint"
    )
    assert RunRow.objects.filter(id=first.run_id).exists()


def test_a_call_that_is_retried_asks_since_it_may_have_stored_something_itself(asked: list[str]) -> None:
    fence, failing = claim(), {"a.2"}
    retry = RetryPolicy(initial_interval=0.01, max_attempts=2, retry_on=ValueError)
    graph = outer(failing, retry=retry).compile(checkpointer=DjangoSaver(fence=fence))
    graph.invoke({"items": []}, config_for(fence.thread_id), durability="sync")
    assert executed == ["a.1", "a.2", "a.1", "a.2", "b.1", "b.2"], "as LangGraph does it with any saver"
    assert [namespace.partition(":")[0] for namespace in asked] == ["", "a"], "by the second try"
