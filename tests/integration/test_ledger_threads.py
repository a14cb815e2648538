"""P6, R4: which of a thread's runs may be claimed, statement by statement, on two connections."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction

import holdfast
from holdfast.persistence import ledger
from holdfast.persistence.connections import conninfo
from holdfast.persistence.ids import new_token
from holdfast.persistence.models import RunRow, RunStatus
from holdfast.persistence.records import Claim, Run, Session
from tests.integration.claims import wait_until_blocked

pytestmark = pytest.mark.django_db(transaction=True)

THREAD = "conversation"


def enqueue(**options: Any) -> Run:
    return holdfast.enqueue("long_steps", {"steps": 1}, thread_id=THREAD, **options)


def claim(run: Run) -> Claim | None:
    return ledger.claim(
        run.id,
        token=new_token(),
        owner="test",
        session=Session(pid=None, start=None),
        alone=False,
        known=[("long_steps", "1")],
    )


def end(claim: Claim, status: RunStatus = RunStatus.SUCCEEDED) -> None:
    ledger.settle(claim, status)


def test_r4_an_interrupted_run_keeps_its_thread() -> None:
    first, second = enqueue(), enqueue()
    held = claim(first)
    assert held is not None
    assert claim(second) is None
    end(held, RunStatus.INTERRUPTED)
    assert claim(second) is None
    assert ledger.freed_thread(first.thread_id) == []


def test_r4_a_run_that_is_queued_again_keeps_its_thread_and_goes_first() -> None:
    first, second = enqueue(), enqueue()
    RunRow.objects.filter(id=first.id).update(not_before=first.not_before.replace(year=2100))
    held = claim(second)
    assert held is not None
    ledger.hand_over(held)
    RunRow.objects.filter(id=first.id).update(not_before=first.not_before)
    assert claim(first) is None, "the older one waits for the holder"
    (bell,) = ledger.freed_thread(first.thread_id)
    assert bell.run_id == second.id
    assert claim(second) is not None


def test_r4_a_run_of_tomorrow_does_not_block_the_thread_today() -> None:
    tomorrow, today = enqueue(run_after=86400), enqueue()
    assert claim(tomorrow) is None
    held = claim(today)
    assert held is not None
    end(held)
    assert ledger.freed_thread(today.thread_id) == []


def test_r4_the_oldest_due_run_goes_first_and_ending_it_rings_for_the_next() -> None:
    first, second, third = enqueue(), enqueue(), enqueue()
    assert claim(second) is None
    for run, following in ((first, second), (second, third)):
        held = claim(run)
        assert held is not None
        end(held, RunStatus.FAILED)
        assert [bell.run_id for bell in ledger.freed_thread(run.thread_id)] == [following.id]


def test_r4_of_two_claims_on_one_thread_at_once_the_index_refuses_the_second() -> None:
    """The older run becomes due after the claim of the younger has looked, and before it has committed."""
    older, younger = enqueue(run_after=3600), enqueue()
    entered = threading.Event()
    backend: list[int] = []

    def claim_the_older() -> Claim | None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                backend.append(cursor.fetchone()[0])
            entered.set()
            return claim(older)
        finally:
            connections.close_all()

    with psycopg.connect(**conninfo("default"), autocommit=True) as observer, ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            held = claim(younger)
            assert held is not None
            observer.execute("UPDATE holdfast_run SET not_before = created_at WHERE id = %s", [older.id])
            future = other.submit(claim_the_older)
            entered.wait()
            wait_until_blocked(observer, backend[0])
        assert future.result() is None
    assert ledger.get(older.id).status is RunStatus.QUEUED
    assert ledger.get(younger.id).status is RunStatus.RUNNING
    end(held)
    assert [bell.run_id for bell in ledger.freed_thread(older.thread_id)] == [older.id]
    assert claim(older) is not None
