"""Keyed effects: one key at every attempt, a recorded result instead of a second execution (P4, R19)."""

from __future__ import annotations

import asyncio
import operator
import threading
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.func import entrypoint
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, Send

from holdfast import current_effect, task
from holdfast.errors import EffectError, EffectMismatchError, EffectRefusedError, LeaseLostError
from holdfast.persistence import DjangoSaver
from holdfast.persistence.models import Effect
from holdfast.runner.runs.attempt import attempt_scope
from tests.integration.attempts import (
    KilledError,
    aexecute,
    claim,
    config,
    execute,
    killed_at,
    ledger,
    take_over,
)

pytestmark = pytest.mark.django_db(transaction=True)


class State(TypedDict, total=False):
    items: Annotated[list[Any], operator.add]
    left: int


def test_p4_a_recorded_effect_is_not_executed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    @task
    def send(to: str) -> dict[str, str]:
        sent.append(to)
        return {"sent": to}

    @entrypoint()
    def job(to: str) -> dict[str, str]:
        return send(to).result()

    first = claim()
    with killed_at(monkeypatch, "effect-after-commit"):
        execute(job, "ada", first)
    assert ledger() == [(send.function, "done", 1)]
    assert execute(job, None, take_over(first)) == {"sent": "ada"}
    assert sent == ["ada"]


@pytest.mark.parametrize("effect", ["keyed", "transactional", "at_most_once"])
def test_p4_an_effect_names_the_checkpoint_it_was_begun_under(effect: Any) -> None:
    @task(effect=effect)
    def send(to: str) -> str:
        return to

    def step(state: State) -> State:
        return {"items": [send("ada").result()]}

    builder = StateGraph(State)
    builder.add_node("first", step)
    builder.add_node("second", step)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    attempt = claim()
    execute(builder.compile(), {"items": []}, attempt)
    states = builder.compile(checkpointer=DjangoSaver()).get_state_history(config(attempt))
    before = {name: state.config["configurable"]["checkpoint_id"] for state in states for name in state.next}
    recorded = list(Effect.objects.order_by("begun_at").values_list("checkpoint_id", flat=True))
    assert recorded == [before["first"], before["second"]]


@pytest.mark.parametrize("where", ["effect-before-begin", "effect-after-begin", "effect-after-body"])
def test_p4_every_attempt_sees_the_same_key(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    keys: list[str] = []

    @task
    def send(to: str) -> str:
        keys.append(current_effect().key)
        return to

    @entrypoint()
    def job(to: str) -> str:
        return send(to).result() + send(to).result()

    first = claim()
    with killed_at(monkeypatch, where):
        execute(job, "ada", first)
    assert execute(job, None, take_over(first)) == "adaada"
    first_call, second_call = dict.fromkeys(keys)
    assert {first_call, second_call} == set(Effect.objects.values_list("key", flat=True))
    assert len(first_call) == 64


def test_p4_a_retry_policy_of_the_calling_node_keeps_the_key() -> None:
    keys: list[str] = []
    attempts: list[int] = []

    @task
    def send(to: str) -> str:
        keys.append(current_effect().key)
        if len(keys) == 1:
            raise ConnectionError("lost")
        return to

    def node(state: State) -> State:
        attempts.append(1)
        return {"items": [send("ada").result()]}

    def later(state: State) -> State:
        send("eve").result()
        if len(attempts) < 4:
            attempts.append(1)
            raise ConnectionError("after the effect")
        return {}

    graph = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.001, max_interval=0.001, jitter=False)
    graph.add_node("node", node, retry_policy=policy)
    graph.add_node("later", later, retry_policy=policy)
    graph.add_edge(START, "node")
    graph.add_edge("node", "later")
    execute(graph.compile(), {"items": []}, claim())
    assert len(keys) == 3
    assert keys[0] == keys[1] != keys[2]
    assert sorted(ledger()) == [(send.function, "done", 1), (send.function, "done", 2)]


def test_p4_loops_and_fan_outs_have_a_key_a_pass_that_survives_kills() -> None:
    seen: list[tuple[Any, str]] = []
    die = True

    @task
    def send(item: Any) -> Any:
        seen.append((item, current_effect().key))
        if die and item == 1:
            raise KilledError
        return item

    def loop(state: State) -> State:
        send("pass").result()
        return {"left": state["left"] - 1}

    def fan(state: State) -> Any:
        return "loop" if state["left"] else [Send("leaf", {"item": i}) for i in range(3)]

    def leaf(state: dict[str, int]) -> State:
        return {"items": [send(state["item"]).result()]}

    graph = StateGraph(State)
    graph.add_node("loop", loop)
    graph.add_node("leaf", leaf)
    graph.add_edge(START, "loop")
    graph.add_conditional_edges("loop", fan, ["loop", "leaf"])
    graph.add_edge("leaf", END)
    compiled = graph.compile()
    first = claim()
    with pytest.raises(KilledError):
        execute(compiled, {"left": 2}, first)
    die = False
    assert execute(compiled, None, take_over(first))["items"] == [0, 1, 2]
    assert [item for item, _ in seen].count("pass") == 2
    assert len({key for _, key in seen}) == 5
    assert len({key for item, key in seen if item == 1}) == 1
    assert [item for item, _ in seen].count(1) == 2
    assert Effect.objects.filter(state="done").count() == 5


def test_p4_an_effect_in_a_subgraph_and_in_another_effect_keeps_its_key() -> None:
    keys: dict[str, list[str]] = {"inner": [], "outer": []}
    die = True

    @task
    def inner(name: str) -> str:
        keys["inner"].append(current_effect().key)
        return name

    @task
    def outer(name: str) -> str:
        keys["outer"].append(current_effect().key)
        found = inner(name).result()
        if die:
            raise KilledError
        return found

    sub = StateGraph(State)
    sub.add_node("call", lambda state: {"items": [outer("a").result()]})
    sub.add_edge(START, "call")
    graph = StateGraph(State)
    graph.add_node("sub", sub.compile())
    graph.add_edge(START, "sub")
    compiled = graph.compile()
    first = claim()
    with pytest.raises(KilledError):
        execute(compiled, {"items": []}, first)
    die = False
    assert execute(compiled, None, take_over(first))["items"][-1] == "a"
    assert len(keys["inner"]) == 1
    assert len(keys["outer"]) == 2
    assert len(set(keys["outer"])) == 1


def test_r19_no_effect_begins_before_its_checkpoint_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    called = threading.Event()
    put = DjangoSaver.aput_after

    async def slow(self: Any, *args: Any, **kwargs: Any) -> Any:
        assert await asyncio.to_thread(called.wait, 10)
        order.append("stored")
        return await put(self, *args, **kwargs)

    monkeypatch.setattr(DjangoSaver, "aput_after", slow)

    @task
    async def send(to: str) -> str:
        order.append("body")
        return to

    @entrypoint()
    async def job(to: str) -> str:
        future = send(to)
        called.set()
        return await future

    assert asyncio.run(aexecute(job, "ada", claim())) == "ada"
    assert order[:2] == ["stored", "body"]


def test_r19_a_sync_body_begins_when_its_input_is_stored() -> None:
    """Stock LangGraph stores the input checkpoint beside the body; inside a run it comes first."""
    attempt = claim()

    @entrypoint()
    def job(to: str) -> bool:
        return attempt.fence.entered

    assert execute(job, "ada", attempt) is True


def test_r19_other_arguments_at_a_recorded_call_are_an_error_that_names_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments: list[Any] = ["ada", 5]

    @task
    def send(to: Any) -> Any:
        return to

    @entrypoint()
    def job(_: Any) -> Any:
        return send(arguments.pop(0)).result()

    first = claim()
    with killed_at(monkeypatch, "effect-after-commit"):
        execute(job, "x", first)
    with pytest.raises(EffectMismatchError) as caught:
        execute(job, None, take_over(first))
    assert "(to: str)" in caught.value.recorded
    assert "(to: int)" in caught.value.called
    assert "ada" not in Effect.objects.get().arguments


def test_p2_an_attempt_that_was_taken_over_begins_and_finishes_no_effect() -> None:
    bodies: list[str] = []
    tries: list[int] = []
    first = claim()

    @task
    def steal(to: str) -> str:
        bodies.append(to)
        take_over(first)
        return to

    @task
    def late(to: str) -> str:
        bodies.append(to)
        return to

    def node(state: State) -> State:
        tries.append(1)
        try:
            steal("a").result()
        except Exception:  # what a careless node does
            late("b").result()
        return {}

    graph = StateGraph(State)
    graph.add_node("node", node, retry_policy=RetryPolicy(initial_interval=0.001, retry_on=Exception))
    graph.add_edge(START, "node")
    with pytest.raises(LeaseLostError):
        execute(graph.compile(), {"items": []}, first)
    assert bodies == ["a"]
    assert tries == [1]
    assert first.fence.lost
    assert ledger() == [(steal.function, "begun", 1)]


def test_p4_effects_of_parallel_nodes_are_each_done_once() -> None:
    barrier = threading.Barrier(2, timeout=20)

    @task
    def send(to: str) -> str:
        barrier.wait()
        return to

    graph = StateGraph(State)
    for name in "ab":
        graph.add_node(name, lambda state, name=name: {"items": [send(name).result()]})
        graph.add_edge(START, name)
    assert sorted(execute(graph.compile(), {"items": []}, claim())["items"]) == ["a", "b"]
    assert ledger() == [(send.function, "done", 1)] * 2


def test_p4_async_effects_are_recorded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str] = []

    @task
    async def send(to: str) -> str:
        keys.append(current_effect().key)
        await asyncio.sleep(0)  # lets the others begin
        return to

    @entrypoint()
    async def job(names: list[str]) -> list[str]:
        return list(await asyncio.gather(*(send(name) for name in names)))

    first = claim()
    names = [str(i) for i in range(40)]
    with killed_at(monkeypatch, "effect-after-body"):
        asyncio.run(aexecute(job, names, first))
    assert asyncio.run(aexecute(job, None, take_over(first))) == names
    assert len(set(keys)) == 40
    assert Effect.objects.filter(state="done").count() == 40


def test_p4_results_of_the_schemas_own_types_and_none_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    @task
    def nothing() -> None:
        return None

    @entrypoint()
    def job(_: int) -> tuple[Any, Any]:
        return nothing().result(), current_effect_outside()

    def current_effect_outside() -> str:
        with pytest.raises(EffectError):
            current_effect()
        return "outside"

    first = claim()
    with killed_at(monkeypatch, "effect-after-commit"):
        execute(job, 1, first)
    assert list(execute(job, None, take_over(first))) == [None, "outside"]


def test_an_effect_whose_checkpoint_is_never_stored_is_refused(settings: Any) -> None:
    settings.HOLDFAST = {"LEASE": 4.0, "HEARTBEAT": 0.1, "IDLE_IN_TRANSACTION": 0.5}
    bodies: list[str] = []

    @task
    def send(to: str) -> str:
        bodies.append(to)
        return to

    sub = StateGraph(State)
    sub.add_node("call", lambda state: {"items": [send("a").result()]})
    sub.add_edge(START, "call")
    graph = StateGraph(State)
    graph.add_node("sub", sub.compile(checkpointer=False))
    graph.add_edge(START, "sub")
    with pytest.raises(EffectRefusedError, match="checkpointer=False"):
        execute(graph.compile(), {"items": []}, claim(), durability="async")
    assert not bodies


def test_outside_a_run_a_task_is_langgraphs_own_with_a_stable_key() -> None:
    keys: list[str] = []
    answers = iter([False, True])

    @task(retry_policy=RetryPolicy(initial_interval=0.001, jitter=False))
    def send(to: str) -> str:
        keys.append(current_effect().key)
        if len(keys) == 1:
            raise ConnectionError
        return to

    @task(effect="at_most_once")
    def once(to: str) -> str:
        keys.append(current_effect().key)
        if not next(answers):
            raise KilledError
        return to

    @entrypoint()
    def job(to: str) -> str:
        return send(to).result() + once(to).result()

    attempt = claim()
    graph = job.copy({"checkpointer": DjangoSaver()})
    with pytest.raises(KilledError):
        graph.invoke("ada", config(attempt))
    assert graph.invoke(None, config(attempt)) == "adaada"
    assert keys[0] == keys[1]
    assert keys[2] == keys[3] != keys[0]
    assert not Effect.objects.exists()


def test_an_unfenced_context_does_not_leak_from_one_run_to_the_next() -> None:
    first, second = claim(), claim()
    with attempt_scope(first), attempt_scope(second):
        pass
    from holdfast.runner.runs.attempt import current_attempt

    assert current_attempt() is None
