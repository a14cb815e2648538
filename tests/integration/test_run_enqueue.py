"""P1, P11: what enqueue takes and what it refuses; an error has written nothing, and says what and where."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction
from django.db.models import F

import holdfast
from holdfast.errors import (
    HoldfastError,
    IdempotencyConflictError,
    InvalidInputError,
    NotSerializableError,
    RetryRefusedError,
    RunEndedError,
    RunNotFoundError,
    RunNotWaitingError,
    ThreadBusyError,
    ThreadNotFoundError,
    UnknownGraphError,
    UnknownQuestionError,
)
from holdfast.persistence import ledger
from holdfast.persistence.ledger.sweeps import BELLS_A_SWEEP
from holdfast.persistence.models import RunRow, Thread
from holdfast.persistence.records import Bell, Run
from holdfast.testing import run_now
from tests.acceptance.journal.pages import notes, page
from tests.acceptance.waiting import until
from tests.integration.lifecycle import Committing, bells, notes_of, nothing_written, written

__all__ = ["bells"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("bells")]

NOBODY = "0197a000-0000-7000-8000-000000000000"
JOURNAL = [("journal", "1")]
YEAR = 365 * 86400.0


def _answer(run_id: str) -> object:
    return holdfast.resume(run_id, "yes")


def _history(thread_id: str) -> object:
    return list(holdfast.history(thread_id))


def _update(thread_id: str) -> object:
    return holdfast.update_state(thread_id, {})


def _fork(thread_id: str) -> object:
    return holdfast.fork(thread_id, "1")


class Unknown:
    """A type that nobody has allowed."""


@pytest.mark.parametrize(
    ("error", "says", "arguments"),
    [
        (UnknownGraphError, "did you mean 'journal'", {"graph": "jurnal"}),
        (UnknownGraphError, "no version '9'", {"version": "9"}),
        (InvalidInputError, "name", {"input": {"name": 7}}),
        (InvalidInputError, "name", {"input": {"notes": []}}),
        (InvalidInputError, "journal", {"input": "text"}),
        (NotSerializableError, "Unknown", {"context": Unknown()}),
        (InvalidInputError, "run_after", {"run_after": -1}),
        (InvalidInputError, "run_after", {"run_after": timedelta(seconds=-1)}),
        (InvalidInputError, "run_after", {"run_after": 11 * YEAR}),
        (InvalidInputError, "run_after", {"run_after": math.nan}),
        (InvalidInputError, "run_after", {"run_after": "tomorrow"}),
        (InvalidInputError, "time zone", {"run_after": datetime(2027, 1, 1)}),
        (InvalidInputError, "year 9000", {"run_after": datetime(9000, 1, 1, tzinfo=UTC)}),
        (InvalidInputError, "deadline", {"deadline": -0.5}),
        (InvalidInputError, "deadline", {"deadline": 0}),
        (InvalidInputError, "deadline", {"deadline": datetime(2020, 1, 1, tzinfo=UTC)}),
        (InvalidInputError, "deadline", {"deadline": 10, "run_after": 20}),
        (InvalidInputError, "1 to 255", {"thread_id": ""}),
        (InvalidInputError, "1 to 255", {"thread_id": "x" * 256}),
        (InvalidInputError, "control", {"thread_id": "a\nb"}),
        (InvalidInputError, "control", {"thread_id": "a\0b"}),
        (InvalidInputError, "str", {"thread_id": 7}),
        (InvalidInputError, "priority", {"priority": 10}),
        (InvalidInputError, "priority", {"priority": -1}),
        (InvalidInputError, "priority", {"priority": True}),
        (InvalidInputError, "queue", {"queue": ""}),
        (InvalidInputError, "idempotency_key", {"idempotency_key": "a\x1fb"}),
        (InvalidInputError, "idempotency_key", {"idempotency_key": "k" * 256}),
        (InvalidInputError, "multitask_strategy", {"multitask_strategy": "queue"}),
        (InvalidInputError, "metadata", {"metadata": {"a": object()}}),
        (InvalidInputError, "NUL", {"metadata": {"a": "\0"}}),
        (InvalidInputError, "surrogate", {"metadata": {"a": "\ud800"}}),
        (InvalidInputError, "surrogate", {"config": {"tags": ["\udfff"]}}),
        (InvalidInputError, "idempotency_key", {"idempotency_key": "\ud800"}),
        (InvalidInputError, "config has no 'callbacks'", {"config": {"callbacks": []}}),
        (
            InvalidInputError,
            "config.configurable.thread_id",
            {"config": {"configurable": {"thread_id": "x"}}},
        ),
        (InvalidInputError, "config.configurable", {"config": {"configurable": []}}),
        (InvalidInputError, "config.recursion_limit", {"config": {"recursion_limit": 0}}),
        (InvalidInputError, "config.recursion_limit", {"config": {"recursion_limit": "many"}}),
        (InvalidInputError, "config.tags", {"config": {"tags": "text"}}),
        (InvalidInputError, "config.metadata", {"config": {"metadata": 7}}),
        (InvalidInputError, "metadata", {"metadata": "text"}),
        (InvalidInputError, "metadata has the key 7", {"metadata": {7: "a"}}),
        (InvalidInputError, "metadata.a[1] has the key None", {"metadata": {"a": ["b", {None: 1}]}}),
        (InvalidInputError, "config.configurable has the key 1", {"config": {"configurable": {1: 1}}}),
    ],
)
def test_p11_the_door_is_shut_to_nonsense(
    error: type[HoldfastError], says: str, arguments: dict[str, Any]
) -> None:
    request: dict[str, Any] = {"graph": "journal", "input": page("a"), **arguments}
    with pytest.raises(error, match=re.escape(says)):
        holdfast.enqueue(**request)
    assert nothing_written()
    with pytest.raises(error):  # nor does a good request beside it come through
        holdfast.enqueue_many([{"graph": "journal", "input": page("good")}, request])
    assert nothing_written()


@pytest.mark.parametrize(
    ("request_", "says"), [({"graf": "journal"}, "has no 'graf'"), ({}, "key 'graph'"), (5, "key 'graph'")]
)
def test_p11_a_request_that_is_none_is_told_by_its_place(request_: Any, says: str) -> None:
    with pytest.raises(InvalidInputError, match=f"Request 1 of enqueue_many .*{says}") as refused:
        holdfast.enqueue_many([{"graph": "journal", "input": page("good")}, request_])
    assert refused.value.field == "requests.1"
    assert nothing_written()


@pytest.mark.parametrize(
    "ask", [holdfast.get, holdfast.steps, holdfast.cancel, holdfast.retry, holdfast.wait, _answer]
)
def test_p11_requests_about_no_run_are_told_so(ask: Callable[[str], object]) -> None:
    with pytest.raises(RunNotFoundError, match=NOBODY):
        ask(NOBODY)
    with pytest.raises(InvalidInputError, match="no run id"):
        ask("seven")
    assert nothing_written()


@pytest.mark.parametrize("ask", [holdfast.state, _history, _update, _fork])
def test_p11_requests_about_no_thread_are_told_so(ask: Callable[[str], object]) -> None:
    with pytest.raises(ThreadNotFoundError, match="nowhere"):
        ask("nowhere")
    with pytest.raises(InvalidInputError, match="1 to 255"):
        ask("")
    assert nothing_written()


def test_p11_requests_in_the_wrong_state_are_told_so() -> None:
    asking = written("asks", ask_at=0)
    with pytest.raises(UnknownQuestionError, match="does not ask"):
        holdfast.resume(asking.id, {"0" * 32: "yes"})
    with pytest.raises(RetryRefusedError, match="it is interrupted"):
        holdfast.retry(asking.id)
    with pytest.raises(NotSerializableError):
        holdfast.resume(asking.id, Unknown())
    assert holdfast.get(asking.id) == asking
    ended = written("ends")
    with pytest.raises(RunNotWaitingError, match="is succeeded"):
        holdfast.resume(ended.id, "yes")
    with pytest.raises(RunEndedError, match="succeeded"):
        holdfast.cancel(ended.id)
    with pytest.raises(RetryRefusedError, match="it is succeeded"):
        holdfast.retry(ended.id)
    assert holdfast.get(ended.id) == ended


def test_p1_one_idempotency_key_makes_one_run(
    bells: list[Bell], django_capture_on_commit_callbacks: Committing
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        first = holdfast.enqueue("journal", page("a"), idempotency_key="order-7")
        again = holdfast.enqueue("journal", page("a"), idempotency_key="order-7", metadata={"try": 2})
    assert again == first
    assert [bell.run_id for bell in bells] == [first.id]
    run_now(first)
    later = holdfast.enqueue("journal", page("a"), idempotency_key="order-7")
    assert Thread.objects.count() == 1
    assert (later.id, later.status) == (first.id, "succeeded")
    for other in (
        {"input": page("b")},
        {"input": page("a"), "context": 7},
        {"input": page("a"), "thread_id": "t"},
    ):
        with pytest.raises(IdempotencyConflictError, match="order-7") as refused:
            holdfast.enqueue("journal", idempotency_key="order-7", **other)
        assert refused.value.run_id == first.id
    with pytest.raises(IdempotencyConflictError):
        holdfast.enqueue_many(
            [
                {"graph": "journal", "input": page("good")},
                {"graph": "journal", "input": page("b"), "idempotency_key": "order-7"},
            ]
        )
    assert RunRow.objects.count() == 1


def test_p1_one_key_twice_in_one_call_makes_one_run() -> None:
    request = {"graph": "journal", "input": page("a"), "idempotency_key": "once"}
    first, second = holdfast.enqueue_many([request, request])
    assert first.id == second.id
    assert RunRow.objects.count() == 1


def test_p6_enqueue_waits_for_the_threads_earlier_run() -> None:
    first = holdfast.enqueue("journal", page("a"), thread_id="t")
    second = holdfast.enqueue("journal", page("b"), thread_id="t")
    assert run_now(second).status == "queued"
    assert run_now(first).status == "succeeded"
    assert run_now(second).status == "succeeded"
    assert notes_of("t") == notes("a") + notes("b")


def test_p6_reject_refuses_a_busy_thread_and_writes_nothing() -> None:
    first = holdfast.enqueue("journal", page("a", ask_at=0), thread_id="t")
    for _ in ("queued", "interrupted"):
        with pytest.raises(ThreadBusyError, match="reject") as refused:
            holdfast.enqueue("journal", page("b"), thread_id="t", multitask_strategy="reject")
        assert refused.value.run_id == first.id
        assert RunRow.objects.count() == 1
        run_now(first)
    holdfast.resume(first.id, "yes")
    run_now(first)
    second = holdfast.enqueue("journal", page("b"), thread_id="t", multitask_strategy="reject")
    assert run_now(second).status == "succeeded"


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
def test_p6_a_run_displaces_the_waiting_ones_before_it(
    strategy: Any, bells: list[Bell], django_capture_on_commit_callbacks: Committing
) -> None:
    written("base", thread="t")
    asking = written("asks", ask_at=1, thread="t")
    queued = holdfast.enqueue("journal", page("queued"), thread_id="t")
    bells.clear()
    with django_capture_on_commit_callbacks(execute=True):
        last = holdfast.enqueue("journal", page("last"), thread_id="t", multitask_strategy=strategy)
    for displaced in (asking, queued):
        run = holdfast.get(displaced.id)
        assert run.status == "cancelled"
        assert str(last.id) in str(run.error)
    assert last.id in [bell.run_id for bell in bells]
    assert run_now(last).status == "succeeded"
    kept = [] if strategy == "rollback" else ["asks>", "asks.0"]
    assert notes_of("t") == notes("base") + kept + notes("last")


def test_p6_a_run_that_displaces_many_is_rung_for_as_one_that_displaces_none(
    bells: list[Bell], django_capture_on_commit_callbacks: Committing
) -> None:
    for name in ("a", "b", "c", "d"):
        holdfast.enqueue("journal", page(name), thread_id="t")
    bells.clear()
    with django_capture_on_commit_callbacks(execute=True):
        last = holdfast.enqueue("journal", page("last"), thread_id="t", multitask_strategy="interrupt")
    # Its own, and that of its thread: not one for each of those before it.
    assert [bell.run_id for bell in bells] == [last.id, last.id]


def test_p1_a_run_is_not_taken_before_it_is_due(
    bells: list[Bell], django_capture_on_commit_callbacks: Committing
) -> None:
    now = RunRow.objects  # the database's clock decides, so the moments below are far enough apart
    with django_capture_on_commit_callbacks(execute=True):
        late = holdfast.enqueue("journal", page("late"), run_after=3600, thread_id="t")
        by_date = holdfast.enqueue("journal", page("x"), run_after=datetime.now(UTC) + timedelta(hours=1))
        past = holdfast.enqueue("journal", page("past"), run_after=datetime.now(UTC) - timedelta(hours=1))
        today = holdfast.enqueue("journal", page("today"), thread_id="t")
    assert [bell.run_id for bell in bells] == [past.id, today.id]
    assert now.filter(rung_at=None).count() == 2
    assert run_now(late).status == run_now(by_date).status == "queued"
    assert run_now(past).status == "succeeded"
    assert run_now(today).status == "succeeded", "a run of later does not block the thread now (R4)"


def test_r15_bells_of_one_moment_go_out_by_priority() -> None:
    for number, priority in enumerate((0, 9, 5)):
        holdfast.enqueue("journal", page(str(number)), priority=priority)
    RunRow.objects.update(rung_at=None, bell_at=F("not_before"))  # as for runs that become due
    rung = ledger.bells(queues=["celery"], default_queue="celery", known=JOURNAL, idle=False)
    assert sorted((bell.priority for bell in rung), reverse=True) == [9, 5, 0]
    assert {bell.queue for bell in rung} == {None}


def test_r15_a_worker_rings_only_for_its_queues() -> None:
    holdfast.enqueue("journal", page("a"), queue="slow")
    plain = holdfast.enqueue("journal", page("b"))
    RunRow.objects.update(rung_at=None, bell_at=F("not_before"))  # as for runs that become due

    def rung(queue: str) -> list[Bell]:
        return ledger.bells(queues=[queue], default_queue="fast", known=JOURNAL, idle=True)

    assert [bell.run_id for bell in rung("fast")] == [plain.id]
    assert [bell.queue for bell in rung("slow")] == ["slow"]


def test_p1_r16_runs_that_nobody_can_execute_leave_bells_for_the_others() -> None:
    holdfast.enqueue_many([{"graph": "journal", "input": page("old")} for _ in range(BELLS_A_SWEEP + 1)])
    RunRow.objects.update(version="retired")
    due = holdfast.enqueue("journal", page("due"), run_after=0.001)
    RunRow.objects.update(rung_at=None, bell_at=F("not_before"))

    def rung(known: list[tuple[str, str]]) -> list[Bell]:
        return ledger.bells(queues=["celery"], default_queue="celery", known=known, idle=True)

    until(lambda: [bell.run_id for bell in rung(JOURNAL)] == [due.id], 5, "the one that is due is rung for")
    assert len(rung([("journal", "retired")])) == BELLS_A_SWEEP


@pytest.mark.django_db(transaction=True)
def test_r15_one_of_those_who_ring_for_the_same_runs_looks_at_a_time() -> None:
    holdfast.enqueue("journal", page("a"), queue="slow")
    holdfast.enqueue("journal", page("b"), queue="fast")

    def rung(queue: str) -> list[str | None]:
        RunRow.objects.filter(queue=queue).update(bell_at=F("not_before"))  # as for runs that become due
        bells = ledger.bells(queues=[queue], default_queue="celery", known=JOURNAL, idle=False)
        return [bell.queue for bell in bells]

    def elsewhere(queue: str) -> list[str | None]:
        try:
            return rung(queue)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as other, transaction.atomic():
        assert rung("slow") == ["slow"]
        assert other.submit(elsewhere, "fast").result(10) == ["fast"]
    with ThreadPoolExecutor(1) as other, transaction.atomic():
        ledger.bells(queues=["slow"], default_queue="celery", known=JOURNAL, idle=False)
        assert other.submit(elsewhere, "slow").result(10) == []
    assert rung("slow") == ["slow"]


@pytest.mark.django_db(transaction=True)  # a cancel is applied on commit
def test_awaiting_a_run_holds_up_no_other_call() -> None:
    async def cancelled_while_awaited() -> Run:
        run = await holdfast.aenqueue("journal", page("a"), run_after=3600)
        waiting = asyncio.create_task(holdfast.await_(run.id, timeout=5))
        await asyncio.sleep(0)  # it has begun
        await holdfast.acancel(run.id)
        return await waiting

    assert async_to_sync(cancelled_while_awaited)().status == "cancelled"
