"""P1, P6, P13, R5: what two people ask at the same moment, statement by statement, on two connections.

The first one's transaction stays open until the second one waits for it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connections

import holdfast
from holdfast.errors import RetryRefusedError, RunNotWaitingError, ThreadBusyError
from holdfast.persistence import ledger
from holdfast.persistence.ids import new_token
from holdfast.persistence.models import RunRow, Thread
from holdfast.persistence.records import Run, Session
from holdfast.testing import run_now
from tests.acceptance.journal.pages import page
from tests.integration.lifecycle import bells, while_open, written

__all__ = ["bells"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("bells")]


def claim(run: Run) -> object:
    session = Session(pid=None, start=None)
    known = [(run.graph, run.version)]
    return ledger.claim(run.id, token=new_token(), owner="t", session=session, alone=False, known=known)


def failed_run() -> Run:
    run = written("a", thread="t", fail_unless="/nowhere")
    assert run.status == "failed"
    return run


def test_r5_a_retry_that_meets_a_claim_of_its_thread_is_refused() -> None:
    failed = failed_run()
    other = holdfast.enqueue("journal", page("b"), thread_id="t")
    with pytest.raises(RetryRefusedError, match=str(other.id)):
        while_open(lambda: claim(other), lambda: holdfast.retry(failed.id))
    assert holdfast.get(failed.id) == failed


def test_r5_a_claim_that_meets_a_retry_on_its_thread_is_not_to_be_had() -> None:
    failed = failed_run()
    other = holdfast.enqueue("journal", page("b"), thread_id="t")
    assert while_open(lambda: holdfast.retry(failed.id), lambda: claim(other)) is None
    assert RunRow.objects.get(id=failed.id).holds_thread
    assert holdfast.get(other.id).status == "queued"


def test_p13_of_two_answers_at_once_one_is_taken() -> None:
    asking = written("a", ask_at=0)
    with pytest.raises(RunNotWaitingError, match="meanwhile"):
        while_open(lambda: holdfast.resume(asking.id, "first"), lambda: holdfast.resume(asking.id, "second"))
    assert run_now(asking).result["notes"] == ["a>", "a=first", "a.1"]


def test_p13_an_answer_that_meets_an_update_of_the_state_is_refused() -> None:
    asking = written("a", ask_at=0)
    with pytest.raises(RunNotWaitingError):
        while_open(
            lambda: holdfast.update_state(asking.thread_id, {"notes": ["edited"]}),
            lambda: holdfast.resume(asking.id, "late"),
        )
    assert run_now(asking).status == "interrupted", "it asks again, on the new state"


def test_p1_one_idempotency_key_from_two_sessions_at_once_makes_one_run() -> None:
    made: list[Run] = []

    def enqueue() -> Run:
        made.append(holdfast.enqueue("journal", page("a"), idempotency_key="order-7"))
        return made[-1]

    second = while_open(enqueue, enqueue)
    assert second.id == made[0].id
    assert RunRow.objects.count() == 1
    assert Thread.objects.count() == 1


@pytest.mark.parametrize("name", ["idempotency_key", "thread_id"])
def test_p1_the_same_names_in_another_order_at_the_same_time_block_nobody(name: str) -> None:
    requests = [{"graph": "journal", "input": page("a"), name: f"order-{number}"} for number in range(60)]
    start = Barrier(2)

    def enqueue(requests: list[dict[str, Any]]) -> list[Run]:
        try:
            start.wait(30)
            return holdfast.enqueue_many(requests)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as callers:
        there, back = callers.map(enqueue, (requests, requests[::-1]))
    assert [run.thread_id for run in there] == [run.thread_id for run in reversed(back)]
    assert RunRow.objects.count() == (60 if name == "idempotency_key" else 120)


@pytest.mark.parametrize("thread", ["new", "known"])
def test_p6_of_two_rejecting_enqueues_at_once_one_is_refused(thread: str) -> None:
    if thread == "known":
        written("earlier", thread="t")

    def enqueue() -> Run:
        return holdfast.enqueue("journal", page("a"), thread_id="t", multitask_strategy="reject")

    with pytest.raises(ThreadBusyError):
        while_open(enqueue, enqueue)
    assert RunRow.objects.filter(status="queued").count() == 1


def test_p6_of_two_displacing_enqueues_at_once_the_later_one_stays() -> None:
    written("earlier", thread="t")

    def enqueue() -> Run:
        return holdfast.enqueue("journal", page("a"), thread_id="t", multitask_strategy="interrupt")

    last = while_open(enqueue, enqueue)
    ledger.apply_cancels()
    assert list(RunRow.objects.filter(status="queued").values_list("id", flat=True)) == [last.id]
