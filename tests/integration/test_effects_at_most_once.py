"""At most once: never twice by us; what cannot be known is asked (P4, R19)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.db import connection
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt

from holdfast import task
from holdfast.errors import EffectRefusedError
from holdfast.persistence.models import Effect
from holdfast.runner.runs.attempt import Attempt
from tests.integration.attempts import KilledError, aexecute, claim, execute, killed_at, ledger, take_over
from tests.integration.test_effects_keyed import State

pytestmark = pytest.mark.django_db(transaction=True)


class Mail:
    """A service that can be watched, and that kills its caller, or fails, on command."""

    def __init__(self, *outcomes: BaseException | None) -> None:
        self.sent: list[str] = []
        self.outcomes = list(outcomes)

    def __call__(self, to: str) -> str:
        self.sent.append(to)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome
        return f"sent to {to}"


def job_of(mail: Mail, **options: Any) -> Any:
    @task(effect="at_most_once", name="send", **options)
    def send(to: str) -> Any:
        return mail(to)

    @entrypoint()
    def job(to: str) -> Any:
        return send(to).result()

    return job


def question(result: Any) -> Any:
    (asked,) = result["__interrupt__"]
    return asked


def answered(asked: Any, answer: Any) -> Command[Any]:
    return Command(resume={asked.id: answer})


def test_p4_an_undisturbed_effect_is_recorded_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    mail = Mail()
    job, first = job_of(mail), claim()
    with killed_at(monkeypatch, "effect-after-commit"):
        execute(job, "ada", first)
    assert execute(job, None, take_over(first)) == "sent to ada"
    assert mail.sent == ["ada"]


def test_p4_a_kill_before_the_announcement_leaves_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    mail = Mail()
    job, first = job_of(mail), claim()
    with killed_at(monkeypatch, "effect-before-begin"):
        execute(job, "ada", first)
    assert execute(job, None, take_over(first)) == "sent to ada"
    assert mail.sent == ["ada"]


@pytest.mark.parametrize("where", ["effect-after-begin", "effect-after-body"])
def test_p4_a_kill_after_the_announcement_makes_the_run_ask(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    mail = Mail()
    job, first = job_of(mail), claim()
    with killed_at(monkeypatch, where):
        execute(job, "ada", first)
    happened = len(mail.sent)
    second = take_over(first)
    asked = question(execute(job, None, second))
    assert asked.value["kind"] == "effect_in_doubt"
    assert asked.value["function"] == "send"
    assert asked.value["arguments"] == "to: str"
    assert asked.value["key"] == Effect.objects.get().key
    assert ledger() == [("send", "in_doubt", 1)]
    assert question(execute(job, None, take_over(second))).id == asked.id
    third = take_over(second)
    assert execute(job, answered(asked, {"happened": True, "result": "by hand"}), third) == "by hand"
    assert len(mail.sent) == happened
    assert ledger() == [("send", "done", 1)]
    assert execute(job, None, take_over(third)) == "by hand"


@pytest.mark.parametrize("stored", [True, False])
def test_p13_the_answer_to_one_doubt_is_not_used_for_the_next(stored: bool) -> None:
    mail = Mail(KilledError(), KilledError())
    job, attempt = job_of(mail), claim()
    with pytest.raises(KilledError):
        execute(job, "ada", attempt)
    attempt = take_over(attempt)
    asked = question(execute(job, None, attempt))
    attempt = take_over(attempt)
    with pytest.raises(KilledError):
        execute(job, answered(asked, {"happened": False}), attempt)
    assert mail.sent == ["ada", "ada"]
    attempt = take_over(attempt)
    # By R7 an answer that was not stored when the process died is sent again; it must change nothing.
    if not stored:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM checkpoint_writes WHERE channel IN ('__resume__', '__error__')")
    again = question(execute(job, None if stored else answered(asked, {"happened": False}), attempt))
    assert again.id != asked.id
    assert again.value["attempts"] == 2
    assert mail.sent == ["ada", "ada"]
    attempt = take_over(attempt)
    assert execute(job, answered(again, {"happened": False}), attempt) == "sent to ada"
    assert mail.sent == ["ada"] * 3
    assert ledger() == [("send", "done", 3)]


def test_p4_an_exception_out_of_the_body_is_in_doubt_whatever_the_retry_policy() -> None:
    mail = Mail(ConnectionError("reset by peer"))

    @task(effect="at_most_once", name="send")
    def send(to: str) -> str:
        return mail(to)

    graph = StateGraph(State)
    graph.add_node(
        "node",
        lambda state: {"items": [send("ada").result()]},
        retry_policy=RetryPolicy(initial_interval=0.001, retry_on=Exception),
    )
    graph.add_edge(START, "node")
    compiled, attempt = graph.compile(), claim()
    asked = question(execute(compiled, {"items": []}, attempt))
    assert asked.value["why"] == "ConnectionError: reset by peer"
    assert mail.sent == ["ada"]
    result = execute(compiled, answered(asked, {"happened": False}), take_over(attempt))
    assert result["items"] == ["sent to ada"]
    assert mail.sent == ["ada", "ada"]


def test_p4_an_odd_character_in_the_exception_does_not_keep_the_run_from_asking() -> None:
    mail = Mail(ConnectionError("reset by \0 or \ud800"))
    asked = question(execute(job_of(mail), "ada", claim()))
    assert asked.value["why"] == "ConnectionError: reset by \ufffd or \ufffd"
    assert [row["state"] for row in Effect.objects.values("state")] == ["in_doubt"]


def test_p4_a_question_inside_the_body_does_not_run_it_twice() -> None:
    bodies: list[str] = []

    @task(effect="at_most_once", name="send")
    def send(to: str) -> str:
        bodies.append(to)
        return str(interrupt("really?"))

    @entrypoint()
    def job(to: str) -> str:
        return send(to).result()

    attempt = claim()
    asked = question(execute(job, "ada", attempt))
    assert asked.value["kind"] == "effect_in_doubt"
    assert execute(job, answered(asked, {"happened": True, "result": 1}), take_over(attempt)) == 1
    assert bodies == ["ada"]


def test_an_answer_of_the_wrong_form_is_asked_for_again() -> None:
    mail = Mail(ValueError("no"))
    job, attempt = job_of(mail), claim()
    asked = question(execute(job, "ada", attempt))
    attempt = take_over(attempt)
    again = question(execute(job, answered(asked, "yes"), attempt))
    assert "happened" in again.value["problem"]
    assert execute(job, answered(again, {"happened": True}), take_over(attempt)) is None
    assert mail.sent == ["ada"]


@pytest.mark.parametrize(
    ("found", "result", "sent"),
    [
        ({"happened": True, "result": "found"}, "found", 1),
        ({"happened": False}, "sent to ada", 2),
    ],
)
def test_p4_reconcile_settles_the_doubt(found: Any, result: str, sent: int) -> None:
    mail, looked = Mail(KilledError()), []

    def reconcile(effect: Any, to: str) -> Any:
        looked.append((effect.key, to))
        return found

    job, attempt = job_of(mail, reconcile=reconcile), claim()
    with pytest.raises(KilledError):
        execute(job, "ada", attempt)
    assert execute(job, None, take_over(attempt)) == result
    assert len(mail.sent) == sent
    assert looked == [(Effect.objects.get().key, "ada")]


@pytest.mark.parametrize("found", [None, LookupError("service down")])
def test_p4_a_reconcile_that_cannot_know_leaves_it_to_the_person(found: Any) -> None:
    mail = Mail(KilledError())

    def reconcile(effect: Any, to: str) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    job, attempt = job_of(mail, reconcile=reconcile), claim()
    with pytest.raises(KilledError):
        execute(job, "ada", attempt)
    assert question(execute(job, None, take_over(attempt))).value["kind"] == "effect_in_doubt"
    assert mail.sent == ["ada"]


def test_p4_async_bodies_are_guarded_too() -> None:
    mail, looked = Mail(KilledError(), ConnectionError("gone")), []

    async def reconcile(effect: Any, to: str) -> Any:
        await asyncio.sleep(0)  # is async indeed
        looked.append(to)
        return {"happened": False} if len(looked) == 1 else None

    @task(effect="at_most_once", name="send", reconcile=reconcile)
    async def send(to: str) -> str:
        await asyncio.sleep(0)  # is async indeed
        return mail(to)

    @entrypoint()
    async def job(to: str) -> str:
        return await send(to)

    attempt = claim()
    with pytest.raises(KilledError):
        asyncio.run(aexecute(job, "ada", attempt))
    attempt = take_over(attempt)
    asked = question(asyncio.run(aexecute(job, None, attempt)))
    assert mail.sent == ["ada", "ada"]
    answer = answered(asked, {"happened": True, "result": "ok"})
    assert asyncio.run(aexecute(job, answer, take_over(attempt))) == "ok"
    assert mail.sent == ["ada", "ada"]


def test_p13_two_doubts_in_parallel_keep_their_answers_apart() -> None:
    mail = {name: Mail(ConnectionError(name)) for name in "ab"}

    @task(effect="at_most_once", name="send")
    def send(to: str) -> str:
        return mail[to](to)

    graph = StateGraph(State)
    for name in "ab":
        graph.add_node(name, lambda state, name=name: {"items": [send(name).result()]})
        graph.add_edge(START, name)
    compiled, attempt = graph.compile(), claim()
    asked = execute(compiled, {"items": []}, attempt)["__interrupt__"]
    by_reason = {each.value["why"][-1]: each for each in asked}
    attempt = take_over(attempt)
    reply = Command(resume={by_reason["b"].id: {"happened": True, "result": "B"}})
    left = question(execute(compiled, reply, attempt))
    assert left.id == by_reason["a"].id
    attempt: Attempt = take_over(attempt)
    result = execute(compiled, answered(left, {"happened": True, "result": "A"}), attempt)
    assert sorted(result["items"]) == ["A", "B"]
    assert [m.sent for m in mail.values()] == [["a"], ["b"]]


def test_r19_what_contradicts_at_most_once_is_refused_at_definition() -> None:
    with pytest.raises(EffectRefusedError, match="retry policy"):
        task(effect="at_most_once", retry_policy=RetryPolicy())(print)
    with pytest.raises(EffectRefusedError, match="reconcile"):
        task(effect="keyed", reconcile=lambda effect: None)(print)
