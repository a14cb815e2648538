"""A run encrypted at rest: from its input to its result nothing of it stands in the clear."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, interrupt

import holdfast
from holdfast.errors import DecryptionError, IdempotencyConflictError
from holdfast.persistence.models import Effect, RunRow
from holdfast.persistence.records import Run
from holdfast.testing import run_now
from tests.extras import extra
from tests.integration.encrypting import encryption, in_the_clear, sealed_under

extra("cryptography")

pytestmark = pytest.mark.django_db(transaction=True)

WORD = "Kumquat"


@dataclass
class Wish:
    """What a caller sends."""

    text: str


class State(TypedDict, total=False):
    wish: Wish
    note: str
    told: str
    answer: str


@holdfast.task
def look_up(text: str) -> str:
    """A keyed effect whose argument and result are secret."""
    return f"looked up {text}"


@holdfast.task(effect="at_most_once")
def send(text: str) -> str:
    """Fails with the secret in its message, so that the run asks."""
    raise RuntimeError(f"cannot send {text}")


def first(state: State) -> State:
    return {"note": f"cached {state['wish'].text}"}


def second(state: State) -> State:
    return {"told": look_up(state["wish"].text).result()}


def third(state: State) -> State:
    return {"answer": interrupt({"ask": f"is {WORD} right?"})}


def fourth(state: State) -> State:
    return {"told": send(state["answer"]).result()}


@pytest.fixture
def secretive() -> str:
    name = f"secretive-{uuid.uuid4().hex}"
    graph = StateGraph(State)
    graph.add_node("first", first, cache_policy=CachePolicy())
    graph.add_node("second", second)
    graph.add_node("third", third)
    graph.add_node("fourth", fourth)
    graph.add_edge(START, "first")
    graph.add_edge("first", "second")
    graph.add_edge("second", "third")
    graph.add_edge("third", "fourth")
    graph.add_edge("fourth", END)
    holdfast.register(name, version="1")(lambda: graph)
    return name


def enqueue(name: str, **more: Any) -> Run:
    config = {"configurable": {"customer": WORD}, "metadata": {"about": WORD}, "tags": ["x"]}
    return holdfast.enqueue(name, {"wish": Wish(WORD)}, config=config, **more)


def test_nothing_that_a_run_handles_stands_in_the_clear(secretive: str, settings: Any) -> None:
    settings.HOLDFAST = encryption("a")
    run = enqueue(secretive, idempotency_key=f"k-{secretive}")
    assert in_the_clear(WORD) == {}
    run = run_now(run)
    assert [question.value for question in run.questions] == [{"ask": "is Kumquat right?"}]
    assert in_the_clear(WORD) == {}
    queued = holdfast.resume(run.id, f"yes, {WORD}")
    assert in_the_clear(WORD) == {}
    run = run_now(queued)
    (doubt,) = run.questions
    assert "cannot send yes, Kumquat" in doubt.value["why"]
    assert in_the_clear(WORD) == {}
    run = run_now(holdfast.resume(run.id, {"happened": True, "result": f"sent {WORD}"}))
    assert run.status == "succeeded"
    assert run.input == {"wish": Wish(WORD)}
    assert run.result["told"] == "sent Kumquat"
    assert in_the_clear(WORD) == {}
    assert set(sealed_under()) == {"a"}
    assert holdfast.state(run.thread_id).values["note"] == "cached Kumquat"


def test_the_error_of_a_failed_run_shows_its_type_only(secretive: str, settings: Any) -> None:
    settings.HOLDFAST = encryption("a")
    run = holdfast.enqueue(secretive, {"note": WORD})
    run = run_now(run)
    assert run.error is not None
    assert run.error["type"] == "KeyError"
    assert "Traceback" in run.error["traceback"]
    assert set(RunRow.objects.get(id=run.id).error) == {"type", "holdfast_sealed"}
    settings.HOLDFAST = encryption("b", "b")
    shown = holdfast.get(run.id).error
    assert shown is not None
    assert (shown["type"], "'a'" in shown["message"]) == ("KeyError", True)


def test_p1_without_its_key_a_run_can_be_seen_but_not_read(secretive: str, settings: Any) -> None:
    settings.HOLDFAST = encryption("a")
    run = run_now(enqueue(secretive))
    settings.HOLDFAST = encryption("b", "b")
    run = holdfast.get(run.id)
    assert run.status == "interrupted"
    for read in (lambda: run.input, lambda: run.questions[0].value):
        with pytest.raises(DecryptionError, match=r"'a'.*ENCRYPTION") as caught:
            read()
        assert caught.value.key == "a"
    failed = run_now(holdfast.resume(run.id, "yes"))
    assert failed.error is not None
    assert failed.error["type"] == "holdfast.errors.DecryptionError"
    settings.HOLDFAST = encryption("b")
    run = run_now(holdfast.retry(run.id))
    assert run.status == "interrupted"


@pytest.mark.parametrize("active", ["a", "b", None])
def test_an_idempotency_key_knows_its_request_under_any_key(
    secretive: str, settings: Any, active: str | None
) -> None:
    settings.HOLDFAST = encryption("a")
    key = f"key-{secretive}"
    run = enqueue(secretive, idempotency_key=key)
    settings.HOLDFAST = encryption(active)
    assert enqueue(secretive, idempotency_key=key).id == run.id
    with pytest.raises(IdempotencyConflictError):
        holdfast.enqueue(secretive, {"wish": Wish("another")}, idempotency_key=key)


def test_equal_requests_and_effects_leave_different_hashes(secretive: str, settings: Any) -> None:
    settings.HOLDFAST = encryption("a")
    runs = [run_now(enqueue(secretive)) for _ in range(2)]
    hashes = {RunRow.objects.get(id=run.id).request_hash for run in runs}
    hashes |= {effect.arguments_hash for effect in Effect.objects.filter(run_id__in=[run.id for run in runs])}
    assert len(hashes) == 4


def test_p4_an_effect_is_recognised_after_the_active_key_has_changed(secretive: str, settings: Any) -> None:
    settings.HOLDFAST = encryption("a")
    run = run_now(enqueue(secretive))
    settings.HOLDFAST = encryption("b")
    run = run_now(holdfast.resume(run.id, "no"))
    (doubt,) = run.questions
    settings.HOLDFAST = encryption("c")
    run = run_now(holdfast.resume(run.id, {"happened": False}))
    assert doubt.value["attempts"] == 1
    assert run.questions[0].value["attempts"] == 2  # the same effect, begun again
