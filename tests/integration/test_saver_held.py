"""Writes that go along with the checkpoint after them: one statement a step, and nobody waits long (P2, P3)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from langgraph.checkpoint.serde.types import INTERRUPT

from holdfast.errors import DatabaseUnreachableError, LeaseLostError
from holdfast.persistence import DjangoSaver
from holdfast.persistence.connections import close_pools
from holdfast.persistence.ids import new_token
from holdfast.persistence.models import Checkpoint, CheckpointWrite, RunRow
from holdfast.persistence.saver import synchronous
from holdfast.persistence.saver.encoding import Batch, Key
from holdfast.persistence.saver.statements import Statements
from tests.integration.claims import a_checkpoint, chain, claim, config_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _pools() -> Iterator[None]:
    yield
    close_pools()


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the fenced statements, in the order in which they are sent."""
    sent: list[str] = []
    original = Statements.rows

    def recording(self: Any, ask: Any) -> Any:
        if "fenced" in ask.name:
            sent.append(ask.name)
        return original(self, ask)

    monkeypatch.setattr(Statements, "rows", recording)
    return sent


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time is up before the checkpoint comes."""
    monkeypatch.setattr(synchronous, "flush_later", lambda *later: None)


class Waiting(threading.Thread):
    """One put_writes on a thread of its own, as LangGraph does it, up to where it waits."""

    def __init__(self, saver: DjangoSaver, config: Any, writes: list[tuple[str, Any]], task: str) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self._arguments = (config, writes, task, "~path")
        self._saver = saver
        self.start()
        deadline = time.monotonic() + 10
        while task not in self._held() and self.is_alive() and time.monotonic() < deadline:
            pass

    def _held(self) -> list[str]:
        return [batch.task_id for batches in list(self._saver._held._waiting.values()) for batch in batches]

    def run(self) -> None:
        try:
            self._saver.put_writes(*self._arguments)
        except BaseException as error:  # for the test to look at
            self.error = error


@pytest.mark.usefixtures("patient")
def test_a_step_of_a_chain_costs_one_statement(statements: list[str]) -> None:
    fence = claim()
    graph = chain(10).compile(checkpointer=DjangoSaver(fence=fence))
    result = graph.invoke({"items": [], "count": 0}, config_for(fence.thread_id), durability="sync")
    assert result["count"] == 10
    assert set(statements) == {"saver_put_fenced"}
    assert len(statements) == 12
    assert CheckpointWrite.objects.filter(thread_id=fence.thread_id, channel="items").count() == 11


@pytest.mark.usefixtures("patient")
def test_p2_a_stale_step_loses_its_writes_with_its_checkpoint() -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)
    first, versions = a_checkpoint(saver, n=1)
    config = saver.put(config_for(fence.thread_id), first, {}, versions)
    waiting = Waiting(saver, config, [("n", 2)], "task")
    RunRow.objects.filter(id=fence.run_id).update(token=new_token())
    second, versions = a_checkpoint(saver, n=2)
    with pytest.raises(LeaseLostError):
        saver.put(config, second, {}, versions)
    waiting.join(10)
    assert isinstance(waiting.error, LeaseLostError)
    assert Checkpoint.objects.filter(thread_id=fence.thread_id).count() == 1
    assert not CheckpointWrite.objects.filter(thread_id=fence.thread_id).exists()


def test_p3_a_finished_task_is_durable_although_its_sibling_still_runs() -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)
    first, versions = a_checkpoint(saver, n=1)
    config = saver.put(config_for(fence.thread_id), first, {}, versions)
    saver.put_writes(config, [("n", 2)], "quick")  # no checkpoint follows
    assert CheckpointWrite.objects.filter(thread_id=fence.thread_id, task_id="quick").count() == 1


@pytest.mark.usefixtures("patient")
def test_a_checkpoint_takes_only_the_writes_of_the_one_before_it() -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)
    first, versions = a_checkpoint(saver, n=1)
    config = saver.put(config_for(fence.thread_id), first, {}, versions)
    two = [Waiting(saver.with_allowlist([("a", "B")]), config, [("n", 2), ("m", [3])], "one")]
    two.append(Waiting(saver, config, [("n", 4)], "two"))
    child = config_for(fence.thread_id, checkpoint_ns="child:1", checkpoint_id=first["id"])
    other = Waiting(saver, child, [("n", 5)], "child")
    second, versions = a_checkpoint(saver, n=2)
    saver.put(config, second, {}, versions)
    for each in two:
        each.join(10)
        assert not each.is_alive()
        assert each.error is None
    assert other.is_alive()
    found = saver.get_tuple(config)
    assert found is not None
    assert found.pending_writes == [("one", "n", 2), ("one", "m", [3]), ("two", "n", 4)]
    third, versions = a_checkpoint(saver, n=3)
    saver.put(child, third, {}, versions)
    other.join(10)
    assert other.error is None


def test_p3_what_several_siblings_have_left_is_stored_in_one_statement(
    statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)
    first, versions = a_checkpoint(saver, n=1)
    config = saver.put(config_for(fence.thread_id), first, {}, versions)
    statements.clear()
    later: list[Any] = []
    monkeypatch.setattr(
        synchronous, "flush_later", lambda seconds, is_waiting, flush: later.append((is_waiting, flush))
    )
    futures = [saver.put_writes_soon(config, [("n", n), ("m", [n])], f"task-{n}") for n in range(5)]
    futures.append(saver.put_writes_soon(config, [("n", 7), ("m", [7])], "task-0"))  # the first stays
    assert all(is_waiting() for is_waiting, _ in later)
    later[0][1]()
    assert all(future.done() and future.exception() is None for future in futures)
    assert not any(is_waiting() for is_waiting, _ in later)
    assert statements == ["saver_put_writes_fenced"]
    found = saver.get_tuple(config)
    assert found is not None
    assert found.pending_writes == [
        (f"task-{n}", channel, value) for n in range(5) for channel, value in (("n", n), ("m", [n]))
    ]


def test_p3_a_checkpoint_is_not_stored_before_the_writes_that_are_on_their_way(
    statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream stores them in any order (#8039); a crash in between would leave the step without its writes."""
    fence = claim()
    saver = DjangoSaver(fence=fence)
    first, versions = a_checkpoint(saver, n=1)
    config = saver.put(config_for(fence.thread_id), first, {}, versions)
    statements.clear()
    started, go_on = threading.Event(), threading.Event()
    execute = saver._statements.rows

    def slow(ask: Any) -> Any:
        if ask.name == "saver_put_writes_fenced":
            started.set()
            assert go_on.wait(10)
        return execute(ask)

    monkeypatch.setattr(saver._statements, "rows", slow)
    on_its_way = saver.put_writes_soon(config, [("n", 2)], "task")
    assert started.wait(10)
    second, versions = a_checkpoint(saver, n=2)
    put = threading.Thread(target=saver.put, args=(config, second, {}, versions))
    put.start()
    put.join(0.2)
    assert put.is_alive()
    assert statements == []
    go_on.set()
    put.join(10)
    assert on_its_way.done()
    assert statements == ["saver_put_writes_fenced", "saver_put_fenced"]


@pytest.mark.usefixtures("patient")
def test_p13_questions_never_wait(statements: list[str]) -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)
    saver.put_writes(config_for(fence.thread_id, checkpoint_id="c"), [(INTERRUPT, [1])], "task")
    assert statements == ["saver_put_writes_fenced"]


def test_p3_writes_of_one_checkpoint_are_stored_in_the_order_in_which_they_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However late the first is: what comes after it may have been made of it, and must not be there without it."""
    fence = claim()
    saver = DjangoSaver(fence=fence)
    stored: list[list[str]] = []
    under_way, go_on = threading.Event(), threading.Event()

    def store(key: Key, batches: Sequence[Batch], **how: Any) -> Iterator[Any]:
        under_way.set()
        assert go_on.wait(10)
        stored.append([batch.task_id for batch in batches])
        yield from ()

    monkeypatch.setattr(saver, "_store_writes", store)

    def soon(checkpoint_id: str, task: str) -> Future[None]:
        config = config_for(fence.thread_id, checkpoint_id=checkpoint_id)
        return saver.put_writes_soon(config, [("n", 1)], task)

    futures = [soon("c", "first")]
    assert under_way.wait(10)
    futures += [soon("c", "second"), soon("c", "third")]
    under_way.clear()
    futures.append(soon("d", "of another checkpoint"))
    assert under_way.wait(10), "that one waits for nobody"
    go_on.set()
    for future in futures:
        future.result(10)
    assert [names for names in stored if names[0][:2] != "of"] == [["first"], ["second", "third"]]


def test_p3_nothing_is_stored_behind_a_write_that_was_given_up(stray_alias: str) -> None:
    fence = claim()
    nowhere = DjangoSaver(fence=fence, using=stray_alias)
    config = config_for(fence.thread_id, checkpoint_id="c")
    with pytest.raises(DatabaseUnreachableError, match="did not answer"):
        nowhere.put_writes(config, [("n", 1)], "lost")
    with pytest.raises(DatabaseUnreachableError, match="given up"):
        DjangoSaver(fence=fence).put_writes(config, [("n", 2)], "made of it")
    assert fence.broken
    assert not CheckpointWrite.objects.filter(thread_id=fence.thread_id).exists()
