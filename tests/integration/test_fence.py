"""The fence statement by statement, with two connections (P2; rules R1, R2, R5)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from holdfast.errors import LeaseLostError
from holdfast.persistence import DjangoSaver
from holdfast.persistence.connections import close_pools, connect, lending
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import new_token
from holdfast.persistence.models import Checkpoint, CheckpointBlob, CheckpointWrite, Entry, RunRow
from tests.integration.claims import a_checkpoint, claim, config_for, wait_until_blocked

pytestmark = pytest.mark.django_db(transaction=True)

Write = Callable[[DjangoSaver, str], Any]


@pytest.fixture(autouse=True)
def _pools() -> Iterator[None]:
    yield
    close_pools()


@pytest.fixture
def other() -> Iterator[psycopg.Connection[Any]]:
    with connect("default") as connection:
        yield connection


@pytest.fixture
def writer() -> Iterator[psycopg.Connection[Any]]:
    with connect("default") as connection:
        yield connection


def put(saver: DjangoSaver, thread_id: str) -> Any:
    checkpoint, versions = a_checkpoint(saver, items=["a"], count=1)
    return saver.put(config_for(thread_id), checkpoint, {"source": "loop", "step": 1}, versions)


def put_writes(saver: DjangoSaver, thread_id: str) -> Any:
    config = config_for(thread_id, checkpoint_id="1ef00000-0000-6000-8000-000000000001")
    saver.put_writes(config, [("items", ["b"]), ("count", 2)], "task", "path")


def put_no_writes(saver: DjangoSaver, thread_id: str) -> Any:
    config = config_for(thread_id, checkpoint_id="1ef00000-0000-6000-8000-000000000001")
    saver.put_writes(config, [], "task", "path")


writes = pytest.mark.parametrize("write", [put, put_writes, put_no_writes])


def rows(thread_id: str) -> int:
    return sum(
        model.objects.filter(thread_id=thread_id).count()
        for model in (Checkpoint, CheckpointBlob, CheckpointWrite, Entry)
    )


@writes
def test_p2_the_owner_writes(write: Write) -> None:
    fence = claim()
    write(DjangoSaver(fence=fence), fence.thread_id)
    assert not fence.lost
    assert rows(fence.thread_id) == {put: 3, put_writes: 2, put_no_writes: 0}[write]


@writes
def test_p2_a_stale_token_writes_nothing(write: Write) -> None:
    fence = claim()
    RunRow.objects.filter(id=fence.run_id).update(token=new_token())
    with pytest.raises(LeaseLostError) as caught:
        write(DjangoSaver(fence=fence), fence.thread_id)
    assert caught.value.run_id == fence.run_id
    assert fence.lost
    assert rows(fence.thread_id) == 0


@writes
@pytest.mark.parametrize("status", ["queued", "succeeded", "cancelled"])
def test_p2_the_right_token_writes_nothing_once_the_run_is_not_running(write: Write, status: str) -> None:
    fence = claim(status=status)
    with pytest.raises(LeaseLostError):
        write(DjangoSaver(fence=fence), fence.thread_id)
    assert rows(fence.thread_id) == 0


@writes
def test_p2_a_repeated_or_empty_write_under_a_valid_lease_is_no_loss(write: Write) -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)
    checkpoint, versions = a_checkpoint(saver, items=["a"])

    def once() -> None:
        if write is put:
            saver.put(config_for(fence.thread_id), checkpoint, {}, versions)
        else:
            write(saver, fence.thread_id)

    once()
    before = rows(fence.thread_id)
    once()
    assert rows(fence.thread_id) == before
    assert not fence.lost


@writes
def test_p2_a_take_over_waits_for_a_write_in_flight_and_a_renewal_does_not(
    write: Write, writer: psycopg.Connection[Any], other: psycopg.Connection[Any]
) -> None:
    fence = claim()
    renew = "UPDATE holdfast_run SET renewed_at = holdfast_now(), session_pid = 1 WHERE id = %s"
    take_over = "UPDATE holdfast_run SET token = %s WHERE id = %s"
    other.execute("SET lock_timeout = '200ms'")
    with writer.transaction():
        with lending("default", writer):
            write(DjangoSaver(fence=fence), fence.thread_id)
        assert other.execute(renew, [fence.run_id]).rowcount == 1
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute(take_over, [uuid4(), fence.run_id])
        # The renewal is not seen as a take-over by the next write of the same transaction.
        with lending("default", writer):
            write(DjangoSaver(fence=fence), fence.thread_id)
    assert other.execute(take_over, [uuid4(), fence.run_id]).rowcount == 1


@writes
def test_p2_a_writer_that_waited_for_a_take_over_reads_again_and_writes_nothing(
    write: Write, writer: psycopg.Connection[Any], other: psycopg.Connection[Any]
) -> None:
    fence = claim()
    caught: list[BaseException] = []

    def late() -> None:
        try:
            with lending("default", writer):
                write(DjangoSaver(fence=fence), fence.thread_id)
        except LeaseLostError as error:
            caught.append(error)

    thread = threading.Thread(target=late)
    with connect("default") as observer:
        with other.transaction():
            other.execute("UPDATE holdfast_run SET token = %s WHERE id = %s", [uuid4(), fence.run_id])
            thread.start()
            wait_until_blocked(observer, writer.info.backend_pid)
        thread.join(10)
    assert len(caught) == 1
    assert rows(fence.thread_id) == 0


@writes
def test_p2_a_write_that_waited_for_a_renewal_goes_through(
    write: Write, writer: psycopg.Connection[Any], other: psycopg.Connection[Any]
) -> None:
    fence = claim()
    with other.transaction():
        other.execute("UPDATE holdfast_run SET renewed_at = holdfast_now() WHERE id = %s", [fence.run_id])
        writer.execute("SET lock_timeout = '200ms'")
        with lending("default", writer):
            write(DjangoSaver(fence=fence), fence.thread_id)
    assert not fence.lost


@writes
def test_p2_a_take_over_that_is_rolled_back_lets_the_waiting_writer_through(
    write: Write, writer: psycopg.Connection[Any], other: psycopg.Connection[Any]
) -> None:
    fence = claim()

    def late() -> None:
        with lending("default", writer):
            write(DjangoSaver(fence=fence), fence.thread_id)

    thread = threading.Thread(target=late)
    with connect("default") as observer:
        with other.transaction(force_rollback=True):
            other.execute("UPDATE holdfast_run SET token = %s WHERE id = %s", [uuid4(), fence.run_id])
            thread.start()
            wait_until_blocked(observer, writer.info.backend_pid)
        thread.join(10)
    assert not thread.is_alive()
    assert not fence.lost


def test_p3_the_entry_is_marked_once_with_the_first_root_checkpoint() -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)
    child, versions = a_checkpoint(saver, items=[])
    saver.put(config_for(fence.thread_id, checkpoint_ns="child:1"), child, {}, versions)
    assert not fence.entered
    saver.put(config_for(f"{fence.thread_id}-another"), child, {}, versions)
    assert not fence.entered
    assert not Entry.objects.filter(run_id=fence.run_id).exists()

    first = put(saver, fence.thread_id)
    assert fence.entered
    put(saver, fence.thread_id)
    mark = Entry.objects.get(run_id=fence.run_id)
    assert mark.thread_id == fence.thread_id
    assert mark.checkpoint_id == first["configurable"]["checkpoint_id"]


def test_p3_a_first_checkpoint_repeated_after_an_unknown_commit_keeps_one_mark() -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)
    checkpoint, versions = a_checkpoint(saver, items=["a"])
    saver.put(config_for(fence.thread_id), checkpoint, {"step": -1}, versions)
    fence.entered = False  # as it is when the connection broke before the answer came
    saver.put(config_for(fence.thread_id), checkpoint, {"step": -1}, versions)
    assert fence.entered
    assert Entry.objects.filter(run_id=fence.run_id).count() == 1
    assert rows(fence.thread_id) == 3


def test_p2_copies_of_the_saver_share_the_fence() -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)
    copy = saver.with_allowlist([("decimal", "Context")])
    assert copy is not saver
    put(copy, fence.thread_id)
    assert saver.fence is copy.fence
    assert fence.entered


def test_p2_writes_of_a_stale_default_isolation_are_still_read_committed() -> None:
    with connect("default", options="-c default_transaction_isolation=serializable") as connection:
        row = connection.execute("SHOW transaction_isolation").fetchone()
    assert row == ("read committed",)


def test_p4_waiting_for_a_durable_checkpoint_ends_when_it_is_committed() -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)
    checkpoint, versions = a_checkpoint(saver, items=[])
    assert not fence.wait_durable("", checkpoint["id"], 0)
    seen: list[bool] = []
    waiter = threading.Thread(target=lambda: seen.append(fence.wait_durable("", checkpoint["id"], 10)))
    waiter.start()
    saver.put(config_for(fence.thread_id), checkpoint, {}, versions)
    waiter.join(10)
    assert seen == [True]

    again = Fence(fence.run_id, fence.token, fence.thread_id)
    assert DjangoSaver(fence=again).get_tuple(config_for(fence.thread_id)) is not None
    assert again.wait_durable("", checkpoint["id"], 0)


def test_p4_waiting_for_a_durable_checkpoint_ends_when_the_lease_is_lost() -> None:
    fence = claim()
    seen: list[bool] = []
    waiter = threading.Thread(target=lambda: seen.append(fence.wait_durable("", "never", 30)))
    waiter.start()
    with pytest.raises(LeaseLostError):
        fence.refuse()
    waiter.join(10)
    assert seen == [False]
