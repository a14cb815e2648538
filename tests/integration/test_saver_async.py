"""The saver in asyncio: no thread in between, and the same promises (P2, P3, R3)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import Any
from uuid import uuid4

import pytest
from langgraph.checkpoint.serde.types import INTERRUPT
from langgraph.graph import START, StateGraph

from holdfast.errors import LeaseLostError, NotSerializableError
from holdfast.persistence import AsyncDjangoSaver, DjangoSaver
from holdfast.persistence.connections import close_pools, connect, lending, pool, retrying
from holdfast.persistence.ids import new_token
from holdfast.persistence.models import Checkpoint, CheckpointWrite
from holdfast.persistence.saver import asynchronous
from holdfast.persistence.saver.statements import Statements
from tests.integration.claims import State, a_checkpoint, chain, claim, config_for, wait_until_blocked

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _pools() -> Iterator[None]:
    yield
    close_pools()


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the fenced statements, in the order in which they are sent."""
    sent: list[str] = []
    original = Statements.arows

    async def recording(self: Any, ask: Any) -> Any:
        if "fenced" in ask.name:
            sent.append(ask.name)
        return await original(self, ask)

    monkeypatch.setattr(Statements, "arows", recording)
    return sent


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time is up before the checkpoint comes."""
    monkeypatch.setattr(asynchronous, "aflush_later", lambda *later: None)


class NoThreads(Executor):
    """A loop's executor that nobody may use."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        raise AssertionError(f"{fn} was sent to a thread")


async def without_threads() -> None:
    """From here on the loop has no threads. A connection is there already: opening one takes a thread."""
    vars(asyncio.get_running_loop())["_default_executor"] = NoThreads()  # its setter wants a pool of threads


async def one(state: State) -> dict[str, Any]:
    return {"count": 1}


async def begun(saver: DjangoSaver, thread_id: str) -> dict[str, Any]:
    checkpoint, versions = a_checkpoint(saver, n=1)
    return dict(await saver.aput(config_for(thread_id), checkpoint, {}, versions))


def test_no_call_uses_a_thread() -> None:
    fence = claim()
    saver, thread_id, copy = AsyncDjangoSaver(fence=fence), fence.thread_id, str(uuid4())
    with pool("default").connection():
        before = set(threading.enumerate())

    async def every_call() -> int:
        await without_threads()
        config = await begun(saver, thread_id)
        await saver.aput_writes(config, [("n", 2)], "task")
        await saver.aput_writes(config, [(INTERRUPT, [1])], "other")
        assert await saver.aget_tuple(config) is not None
        seen = [found async for found in saver.alist(config_for(thread_id))]
        await saver.aget_delta_channel_history(config=config, channels=["n"])
        await saver.acopy_thread(thread_id, copy)
        await saver.aprune([thread_id, copy])
        await saver.adelete_for_runs(["nobody's"])
        await saver.adelete_thread(copy)
        builder = StateGraph(State)
        builder.add_node("one", one)
        builder.add_edge(START, "one")
        graph = builder.compile(checkpointer=DjangoSaver())
        await graph.ainvoke({"items": [], "count": 0}, config_for(str(uuid4())), durability="sync")
        return len(seen)

    assert asyncio.run(every_call()) == 1
    assert set(threading.enumerate()) == before


@pytest.mark.usefixtures("patient")
def test_a_step_of_an_async_chain_costs_one_statement(statements: list[str]) -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)
    graph = chain(10).compile(checkpointer=saver)

    async def both() -> None:
        config = config_for(fence.thread_id)
        result = await graph.ainvoke({"items": [], "count": 0}, config, durability="sync")
        assert result["count"] == 10

    asyncio.run(both())
    assert set(statements) == {"saver_put_fenced"}
    assert len(statements) == 12
    assert CheckpointWrite.objects.filter(thread_id=fence.thread_id, channel="items").count() == 11


def test_one_object_serves_invoke_and_ainvoke() -> None:
    fence = claim()
    graph = chain(2).compile(checkpointer=DjangoSaver(fence=fence))
    config = config_for(fence.thread_id)
    for turn in range(1, 5):
        given = {"items": [], "count": 0}
        if turn % 2:
            graph.invoke(given, config, durability="sync")
        else:
            asyncio.run(graph.ainvoke(given, config, durability="sync"))
        assert len(graph.get_state(config).values["items"]) == 2 * turn


def test_p3_a_finished_async_task_is_durable_although_no_checkpoint_follows() -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)

    async def writes() -> None:
        config = await begun(saver, fence.thread_id)
        await saver.aput_writes(config, [("n", 2)], "quick")

    asyncio.run(writes())
    assert CheckpointWrite.objects.filter(thread_id=fence.thread_id, task_id="quick").count() == 1


def test_p3_an_async_checkpoint_is_not_stored_before_the_writes_that_are_on_their_way(
    statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)

    async def in_order() -> None:
        config = await begun(saver, fence.thread_id)
        statements.clear()
        started, go_on = asyncio.Event(), asyncio.Event()
        execute = saver._statements.arows

        async def slow(ask: Any) -> Any:
            if ask.name == "saver_put_writes_fenced":
                started.set()
                await go_on.wait()
            return await execute(ask)

        monkeypatch.setattr(saver._statements, "arows", slow)
        on_its_way = asyncio.create_task(saver.aput_writes(config, [("n", 2)], "task"))
        await started.wait()
        second, versions = a_checkpoint(saver, n=2)
        put = asyncio.create_task(saver.aput(config, second, {}, versions))
        done, _ = await asyncio.wait({put}, timeout=0.2)
        assert not done
        assert statements == []
        go_on.set()
        await put
        assert on_its_way.done()

    asyncio.run(in_order())
    assert statements == ["saver_put_writes_fenced", "saver_put_fenced"]


@pytest.mark.usefixtures("patient")
def test_p2_a_stale_async_step_loses_its_writes_with_its_checkpoint() -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)

    async def stale() -> None:
        config = await begun(saver, fence.thread_id)
        waiting = asyncio.create_task(saver.aput_writes(config, [("n", 2)], "task"))
        await asyncio.sleep(0)  # its turn: it hands the writes over
        with connect("default") as other:
            other.execute("UPDATE holdfast_run SET token = %s WHERE id = %s", [new_token(), fence.run_id])
        second, versions = a_checkpoint(saver, n=2)
        with pytest.raises(LeaseLostError):
            await saver.aput(config, second, {}, versions)
        with pytest.raises(LeaseLostError):
            await waiting

    asyncio.run(stale())
    assert Checkpoint.objects.filter(thread_id=fence.thread_id).count() == 1
    assert not CheckpointWrite.objects.filter(thread_id=fence.thread_id).exists()


@pytest.mark.usefixtures("patient")
def test_a_task_that_gives_up_waiting_for_its_writes_holds_up_nobody() -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)

    async def gives_up() -> None:
        config = await begun(saver, fence.thread_id)
        waiting = asyncio.create_task(saver.aput_writes(config, [("n", 2)], "task"))
        await asyncio.sleep(0)  # its turn: it hands the writes over
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        second, versions = a_checkpoint(saver, n=2)
        await saver.aput(config, second, {}, versions)

    asyncio.run(gives_up())
    assert CheckpointWrite.objects.filter(thread_id=fence.thread_id, task_id="task").count() == 1


@pytest.mark.usefixtures("patient")
def test_writes_whose_checkpoint_was_cancelled_say_so() -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)

    async def cancelled() -> None:
        config = await begun(saver, fence.thread_id)
        waiting = asyncio.create_task(saver.aput_writes(config, [("n", 2)], "task"))
        await asyncio.sleep(0)  # its turn: it hands the writes over
        second, versions = a_checkpoint(saver, n=2)
        pid = retrying("default", lambda connection: connection.info.backend_pid)
        with connect("default") as holder, connect("default") as observer:
            holder.execute("BEGIN")
            holder.execute("LOCK TABLE checkpoints IN EXCLUSIVE MODE")
            put = asyncio.create_task(saver.aput(config, second, {}, versions))
            await asyncio.to_thread(wait_until_blocked, observer, pid)
            put.cancel()
            with pytest.raises(asyncio.CancelledError):
                await put
            holder.execute("ROLLBACK")
        with pytest.raises(asyncio.CancelledError):
            await waiting
        third, versions = a_checkpoint(saver, n=3)
        await saver.aput(config, third, {}, versions)

    asyncio.run(cancelled())


def test_what_cannot_be_stored_is_refused_by_the_call_and_by_its_future() -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)

    async def refused() -> None:
        config = await begun(saver, fence.thread_id)
        with pytest.raises(NotSerializableError):
            await saver.aput_writes(config, [("n", object())], "task")
        soon = saver.aput_writes_soon(config, [("n", object())], "task")
        assert soon is not None
        with pytest.raises(NotSerializableError):
            await soon
        assert saver.aput_writes_soon(config, [(INTERRUPT, [1])], "task") is None
        assert DjangoSaver().aput_writes_soon(config, [("n", 1)], "task") is None

    asyncio.run(refused())


def test_calls_inside_of_alist_work_while_it_is_iterated() -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())

    async def inside() -> list[int]:
        config: Any = config_for(thread_id)
        for number in range(25):
            checkpoint, versions = a_checkpoint(saver, n=number)
            config = await saver.aput(config, checkpoint, {}, versions)
        seen = []
        async for found in saver.alist(config_for(thread_id)):
            assert await saver.aget_tuple(found.config) == found
            assert saver.get_tuple(found.config) == found
            await saver.aput_writes(found.config, [("n", 9)], "task")
            seen.append(found.checkpoint["channel_values"]["n"])
        return seen

    assert asyncio.run(inside()) == list(range(24, -1, -1))


def test_on_a_connection_that_was_given_or_lent_async_calls_take_turns() -> None:
    async def use(saver: DjangoSaver, thread_id: str) -> int:
        for _ in range(3):
            await begun(saver, thread_id)
        await asyncio.gather(*(saver.aget_tuple(config_for(thread_id)) for _ in range(5)))
        return len([found async for found in saver.alist(config_for(thread_id))])

    threads = [str(uuid4()), str(uuid4())]
    with connect("default") as given, given.transaction(force_rollback=True):
        assert asyncio.run(use(DjangoSaver(connection=given), threads[0])) == 3
    with connect("default") as lent, lent.transaction(force_rollback=True), lending("default", lent):
        assert asyncio.run(use(DjangoSaver(), threads[1])) == 3
    assert not Checkpoint.objects.filter(thread_id__in=threads).exists()
