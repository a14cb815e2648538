"""A run writes to the store in its own name only, statement by statement, with two connections (P2; R1, R2)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from langgraph.graph import START, StateGraph
from langgraph.store.base import GetOp, PutOp, SearchOp

from holdfast.errors import LeaseLostError
from holdfast.graphs import registry
from holdfast.persistence import DjangoStore
from holdfast.persistence.connections import connect, lending
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import new_token
from holdfast.persistence.models import RunRow, StoreItem
from holdfast.runner.runs import attachments
from tests.integration.claims import State, claim, wait_until_blocked
from tests.integration.stores import empty_store

__all__ = ["empty_store"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_store")]

WRITE = [PutOp(("a",), "new", {"n": 1}), PutOp(("a",), "old", None)]


@pytest.fixture
def fence() -> Fence:
    """Of a run that is claimed; an item of before it is there."""
    DjangoStore().put(("a",), "old", {})
    return claim()


@pytest.fixture
def other() -> Iterator[psycopg.Connection[Any]]:
    with connect("default") as connection:
        yield connection


def stored() -> list[str]:
    return sorted(StoreItem.objects.values_list("key", flat=True))


def test_p2_the_owner_writes(fence: Fence) -> None:
    DjangoStore(fence=fence).batch(WRITE)
    assert stored() == ["new"]
    assert not fence.lost


@pytest.mark.parametrize("asynchronous", [False, True])
def test_p2_a_stale_attempt_writes_and_deletes_nothing(fence: Fence, asynchronous: bool) -> None:
    RunRow.objects.filter(id=fence.run_id).update(token=new_token())
    store = DjangoStore(fence=fence)
    with pytest.raises(LeaseLostError) as caught:
        asyncio.run(store.abatch(WRITE)) if asynchronous else store.batch(WRITE)
    assert caught.value.run_id == fence.run_id
    assert fence.lost
    assert stored() == ["old"]


def test_p2_an_attempt_whose_run_has_ended_writes_nothing(fence: Fence) -> None:
    RunRow.objects.filter(id=fence.run_id).update(status="succeeded", holds_thread=False)
    with pytest.raises(LeaseLostError):
        DjangoStore(fence=fence).put(("a",), "new", {})
    assert stored() == ["old"]


def test_p2_a_write_that_changes_nothing_is_no_loss(fence: Fence) -> None:
    DjangoStore(fence=fence).delete(("a",), "never")
    assert not fence.lost


def test_p2_a_take_over_waits_for_a_write_in_flight(fence: Fence, other: psycopg.Connection[Any]) -> None:
    take_over = "UPDATE holdfast_run SET token = %s WHERE id = %s"
    other.execute("SET lock_timeout = '200ms'")
    with connect("default") as writer:
        with writer.transaction():
            with lending("default", writer):
                DjangoStore(fence=fence).batch(WRITE)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute(take_over, [uuid4(), fence.run_id])
        assert other.execute(take_over, [uuid4(), fence.run_id]).rowcount == 1


def test_p2_a_writer_that_waited_for_a_take_over_writes_nothing(
    fence: Fence, other: psycopg.Connection[Any]
) -> None:
    caught: list[BaseException] = []
    with connect("default") as writer, connect("default") as observer:

        def late() -> None:
            try:
                with lending("default", writer):
                    DjangoStore(fence=fence).batch(WRITE)
            except LeaseLostError as error:
                caught.append(error)

        thread = threading.Thread(target=late)
        with other.transaction():
            other.execute("UPDATE holdfast_run SET token = %s WHERE id = %s", [uuid4(), fence.run_id])
            thread.start()
            wait_until_blocked(observer, writer.info.backend_pid)
        thread.join(10)
    assert len(caught) == 1
    assert stored() == ["old"]


def test_p2_a_stale_attempt_reads_and_prolongs_nothing(fence: Fence) -> None:
    DjangoStore().put(("a",), "short", {}, ttl=10)
    before = StoreItem.objects.get(key="short").expires_at
    stale = Fence(fence.run_id, new_token(), fence.thread_id)
    reads = [GetOp(("a",), "short"), SearchOp(("a",), filter={})]
    got, found = DjangoStore(fence=stale).batch(reads)
    assert got is not None
    assert len(found) == 2
    assert StoreItem.objects.get(key="short").expires_at == before
    DjangoStore(fence=fence).batch(reads)
    assert StoreItem.objects.get(key="short").expires_at > before


def test_a_read_that_prolongs_nothing_leaves_the_runs_row_alone(
    fence: Fence, other: psycopg.Connection[Any]
) -> None:
    with other.transaction():
        other.execute("UPDATE holdfast_run SET token = %s WHERE id = %s", [uuid4(), fence.run_id])
        with connect("default", options="-c lock_timeout=200") as reader, lending("default", reader):
            assert DjangoStore(fence=fence).get(("a",), "old") is not None


def test_a_store_of_the_graphs_own_is_fenced_too_and_keeps_its_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def node(state: State) -> dict[str, Any]:
        return {}

    own = DjangoStore(ttl={"default_ttl": 5})
    builder = StateGraph(State)
    builder.add_node("n", node)
    builder.add_edge(START, "n")
    fence = claim()
    monkeypatch.setattr(registry, "_specs", {})
    registry.register("own-store")(builder.compile(store=own))
    fenced = attachments.store_of(registry.get("own-store"), fence)
    assert isinstance(fenced, DjangoStore)
    assert (fenced.fence, fenced.ttl_config, own.fence) == (fence, {"default_ttl": 5}, None)
