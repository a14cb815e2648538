"""P2, R10, R11: the ledger's statements, one by one, against a take-over and against who stands still."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection as django_connection
from django.db import connections
from django.db.backends.signals import connection_created
from django.utils import timezone

from holdfast.errors import LeaseLostError
from holdfast.persistence import ledger
from holdfast.persistence.connections import close_pools, connect, lending
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import new_token
from holdfast.persistence.models import CancelRequest, RunRow, RunStatus, Step
from holdfast.persistence.records import Claim, Question, StepRecord, Typed
from tests.integration.claims import claim, wait_until_blocked

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _pools() -> Iterator[None]:
    yield
    close_pools()


def claimed(fence: Fence) -> Claim:
    """What the claimer of that fence holds."""
    RunRow.objects.filter(id=fence.run_id).update(owner="o")
    run = ledger.get(fence.run_id)
    nothing = Typed(type="null", data=None, graph=run.graph, version=run.version, binding=())
    return Claim(
        run=run, token=fence.token, entered=False, stored_config={}, context=nothing, asked=(), answers=None
    )


def succeed(claim: Claim) -> object:
    return ledger.settle(claim, RunStatus.SUCCEEDED, result=("null", None))


def fail(claim: Claim) -> object:
    return ledger.settle(claim, RunStatus.FAILED, error={"type": "E", "message": "m"})


def ask(claim: Claim) -> object:
    question = Question(
        id="0" * 32,
        run_id=claim.run.id,
        stored="?",
        node="n",
        namespace="",
        checkpoint_id="c",
        task_id="t",
        answered=0,
    )
    return ledger.settle(claim, RunStatus.INTERRUPTED, questions=[question])


def hand_over(claim: Claim) -> object:
    return ledger.hand_over(claim)


def revoke(claim: Claim) -> object:
    return ledger.revoke(claim, rollback=True)


def record(claim: Claim) -> object:
    now = timezone.now()
    line = StepRecord(
        run_id=claim.run.id,
        delivery=1,
        step=1,
        node="n",
        task_id="t",
        namespace="",
        owner="o",
        started_at=now,
        finished_at=now,
        outcome="done",
    )
    return ledger.record_steps(claim, [line])


Statement = Callable[[Claim], object]
statements = pytest.mark.parametrize("statement", [succeed, fail, ask, hand_over, revoke, record])


def written() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (RunRow, Step, CancelRequest)]


def refused(statement: Statement, claim: Claim) -> bool:
    try:
        with ledger.pooled():
            return statement(claim) is False
    except LeaseLostError:
        return True


def cancel(fence: Fence) -> None:
    assert ledger.request_cancel(fence.run_id, rollback=False, reason="a person wants it")


@statements
def test_p2_the_owner_changes_the_run(statement: Statement) -> None:
    fence = claim()
    cancel(fence)
    before = written()
    assert not refused(statement, claimed(fence))
    assert written() != before
    # The wish to cancel is answered by the end of the run, by nothing else.
    ends = statement in (succeed, fail, revoke)
    assert CancelRequest.objects.filter(run_id=fence.run_id).exists() is not ends


@statements
@pytest.mark.parametrize("status", ["running", "queued", "interrupted"])
def test_p2_a_stale_owner_changes_nothing_not_even_the_wish_to_cancel_its_successor(
    statement: Statement, status: str
) -> None:
    fence = claim()
    stale = claimed(fence)
    RunRow.objects.filter(id=fence.run_id).update(
        token=new_token() if status == "running" else None, status=status
    )
    cancel(fence)
    before = written()
    assert refused(statement, stale)
    assert written() == before


@statements
def test_p2_a_take_over_in_flight_wins_over_the_statement_that_waits_for_it(statement: Statement) -> None:
    fence = claim()
    stale = claimed(fence)
    cancel(fence)
    answers: list[bool] = []

    def late(writer: psycopg.Connection[Any]) -> None:
        with lending("default", writer):
            answers.append(refused(statement, stale))
        connections.close_all()

    with connect("default") as taker, connect("default") as writer, connect("default") as eye:
        with taker.transaction():
            taker.execute("UPDATE holdfast_run SET token = %s WHERE id = %s", [uuid4(), fence.run_id])
            thread = threading.Thread(target=late, args=[writer])
            thread.start()
            wait_until_blocked(eye, writer.info.backend_pid, 30)
        thread.join(30)
    before = written()
    assert answers == [True]
    assert before[1] == []
    assert CancelRequest.objects.filter(run_id=fence.run_id).count() == 1
    assert RunRow.objects.get().status == "running"


@statements
def test_p2_a_take_over_that_comes_second_finds_the_run_as_the_statement_left_it(
    statement: Statement,
) -> None:
    fence = claim()
    with connect("default") as writer, connect("default") as taker:
        taker.execute("SET lock_timeout = '200ms'")
        with writer.transaction():
            with lending("default", writer):
                assert not refused(statement, claimed(fence))
            if statement is record:  # holds the row only against a change of the token
                renewal = "UPDATE holdfast_run SET renewed_at = holdfast_now() WHERE id = %s"
                assert taker.execute(renewal, [fence.run_id]).rowcount == 1
            with pytest.raises(psycopg.errors.LockNotAvailable):
                taker.execute("UPDATE holdfast_run SET token = %s WHERE id = %s", [uuid4(), fence.run_id])
        taken = taker.execute(
            "UPDATE holdfast_run SET token = %s WHERE id = %s AND token = %s",
            [uuid4(), fence.run_id, fence.token],
        )
        assert taken.rowcount == (1 if statement is record else 0)


def expire(*fences: Fence) -> None:
    long_ago = "UPDATE holdfast_run SET renewed_at = holdfast_now() - interval '1 hour' WHERE id = ANY(%s)"
    with connect("default") as connection:
        connection.execute(
            "INSERT INTO holdfast_incarnation VALUES (true, '2020-01-01') ON CONFLICT DO NOTHING"
        )
        connection.execute(long_ago, [[fence.run_id for fence in fences]])


def swept(connection: psycopg.Connection[Any]) -> list[Any]:
    with lending("default", connection), ledger.pooled():
        return [lost.run.id for lost in ledger.sweep_lost()]


def test_r10_a_row_that_a_frozen_writer_holds_does_not_keep_the_others_from_being_swept() -> None:
    held, other = claim(), claim()
    expire(held, other)
    with connect("default") as frozen, connect("default") as sweeper:
        sweeper.execute("SET lock_timeout = '200ms'")  # it must not wait at all
        with frozen.transaction():
            frozen.execute("SELECT FROM holdfast_run WHERE id = %s FOR KEY SHARE", [held.run_id])
            assert swept(sweeper) == [other.run_id]
            assert swept(sweeper) == []
        assert swept(sweeper) == [held.run_id]


def test_r10_a_sweep_that_stands_still_is_waited_for_by_none_and_ends_with_its_transaction() -> None:
    first = claim()
    expire(first)
    with connect("default") as frozen, connect("default") as sweeper:
        sweeper.execute("SET lock_timeout = '200ms'")
        with frozen.transaction(force_rollback=True):
            assert swept(frozen) == [first.run_id]
            assert swept(sweeper) == []  # one judges at a time; the others pass by
        assert swept(sweeper) == [first.run_id]
        # In autocommit, as every worker sweeps, the lock is gone with the statement though the session stays.
        second = claim()
        expire(second)
        assert swept(frozen) == [second.run_id]
        third = claim()
        expire(third)
        assert swept(sweeper) == [third.run_id]


def test_r11_the_server_takes_the_locks_away_from_a_session_that_idles_in_a_transaction(
    settings: Any,
) -> None:
    settings.HOLDFAST = {"IDLE_IN_TRANSACTION": 0.3}
    fence = claim()
    expire(fence)
    frozen = connect("default")
    try:
        frozen.execute("BEGIN")
        frozen.execute("UPDATE holdfast_run SET draining = true WHERE id = %s", [fence.run_id])
        with connect("default") as sweeper:
            assert swept(sweeper) == []
            deadline = time.monotonic() + 30
            while not (found := swept(sweeper)):
                assert time.monotonic() < deadline
            assert found == [fence.run_id]
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            frozen.execute("COMMIT")
    finally:
        frozen.close()
    assert RunRow.objects.get().draining is False


def test_r11_a_workers_django_connections_are_limited_too(settings: Any) -> None:
    from holdfast.runner import worker

    settings.HOLDFAST = {"IDLE_IN_TRANSACTION": 3.0}
    django_connection.close()
    connection_created.connect(worker._guard)
    try:
        with django_connection.cursor() as cursor:
            cursor.execute("SHOW idle_in_transaction_session_timeout")
            assert cursor.fetchone() == ("3s",)
    finally:
        connection_created.disconnect(worker._guard)
        django_connection.close()
