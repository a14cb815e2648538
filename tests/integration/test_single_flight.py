"""P5: of many runs that need one cached value at the same time, one computes it, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import operator
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import pytest
from langgraph.errors import GraphDrained
from langgraph.func import entrypoint
from langgraph.func import task as stock_task
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy, Send, interrupt

from holdfast.errors import NotSerializableError
from holdfast.persistence import DjangoCache, DjangoSaver
from holdfast.persistence.models import NodeCacheEntry, NodeFlight, RunRow, RunStatus
from holdfast.persistence.node_cache.tally import tally
from holdfast.runner.runs.attempt import Attempt, attempt_scope
from tests.integration.attempts import claim, config, execute

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 20.0


class State(TypedDict, total=False):
    given: str
    items: Annotated[list[str], operator.add]


def of(key: str, ttl: int | None = None) -> CachePolicy[Any]:
    return CachePolicy(key_func=lambda *_, **__: key, ttl=ttl)


def one_node(node: Callable[..., Any], policy: CachePolicy[Any] | None = None) -> Any:
    graph = StateGraph(State)
    graph.add_node("node", node, cache_policy=policy or of("same"))
    graph.add_edge(START, "node")
    return graph.compile()


@contextmanager
def threads(count: int = 8) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(count) as pool:
        yield pool


def go(graph: Any, value: Any, attempt: Attempt, **options: Any) -> Any:
    """Execute the graph as one run, in this thread."""
    attached = graph.copy({"checkpointer": DjangoSaver(fence=attempt.fence), "cache": DjangoCache()})
    with attempt_scope(attempt):
        return attached.invoke(
            {"given": "x"} if value is None else value,
            {**config(attempt), **options},
            durability="sync",
            control=attempt.control,
        )


async def ago(graph: Any, value: Any, attempt: Attempt, **options: Any) -> Any:
    """As ``go``, on this event loop."""
    attached = graph.copy({"checkpointer": DjangoSaver(fence=attempt.fence), "cache": DjangoCache()})
    with attempt_scope(attempt):
        return await attached.ainvoke(
            {"given": "x"} if value is None else value,
            {**config(attempt), **options},
            durability="sync",
            control=attempt.control,
        )


class Busy:
    """A node or task that computes until it is let go, and counts."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.count = 0

    def __call__(self, *_: Any) -> Any:
        self.count += 1
        self.begun.release()
        assert self.let_go.wait(PATIENCE)
        return {"items": [f"computed {self.count}"]}

    async def acall(self, *_: Any) -> Any:
        return await asyncio.to_thread(self)

    def wait_begun(self) -> None:
        assert self.begun.acquire(timeout=PATIENCE)


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)  # between two looks


@pytest.fixture(autouse=True)
def _no_hits_are_left() -> None:
    tally().write("default", pause=0)


def waiting() -> int:
    from holdfast.runner.runs.waiters import waiters

    return sum(not waiter.news.done() for waiter in waiters()._waiting)


def test_p5_runs_that_need_one_value_at_the_same_time_compute_it_once() -> None:
    busy = Busy()
    graph = one_node(busy)
    attempts = [claim() for _ in range(8)]
    with threads() as pool:
        runs = [pool.submit(go, graph, None, attempt) for attempt in attempts]
        busy.wait_begun()
        until(lambda: waiting() == 7, "the others wait")
        time.sleep(0.2)  # so that computing takes something
        busy.let_go.set()
        assert [run.result(PATIENCE)["items"] for run in runs] == [["computed 1"]] * 8
    assert busy.count == 1
    tally().write("default", pause=0)
    entry = NodeCacheEntry.objects.get()
    assert (entry.hits, entry.misses) == (7, 1)
    assert entry.cost is not None
    assert entry.cost >= 0.2
    assert entry.saved == pytest.approx(7 * entry.cost)
    assert not NodeFlight.objects.exists()


def test_p5_those_who_have_waited_long_ask_together(monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.runner.runs import waiters

    busy, asked = Busy(), []
    graph = one_node(busy)
    attempts = [claim() for _ in range(13)]

    def ask(alias: str, name: str, params: Any, **options: Any) -> Any:
        asked.append(name)
        return real(alias, name, params, **options)

    real = waiters.ask
    with threads(13) as pool:
        runs = [pool.submit(go, graph, None, attempts[0])]
        busy.wait_begun()
        for number, attempt in enumerate(attempts[1:], 1):
            runs.append(pool.submit(go, graph, None, attempt))
            until(lambda wanted=number: waiting() == wanted, "one more waits")
            waiters.waiters()._waiting[-1].since -= 60
            time.sleep(0.02)  # so that each comes at another time
        time.sleep(2 * waiters.LONGEST_PAUSE)  # until each has its longest pause
        monkeypatch.setattr(waiters, "ask", ask)
        time.sleep(2)  # so long they are counted
        statements = asked.count("flight_look")
        busy.let_go.set()
        assert [run.result(PATIENCE)["items"] for run in runs] == [["computed 1"]] * 13
    assert 2 / waiters.LONGEST_PAUSE - 1 <= statements <= 2 * 2 / waiters.LONGEST_PAUSE + 1


def test_p5_async_runs_compute_once_and_their_loop_goes_on() -> None:
    busy = Busy()
    graph = one_node(busy.acall)
    attempts = [claim() for _ in range(6)]

    async def all_of_them() -> list[Any]:
        runs = [asyncio.create_task(ago(graph, None, attempt)) for attempt in attempts]
        await asyncio.to_thread(busy.wait_begun)
        await asyncio.to_thread(until, lambda: waiting() == 5, "the others wait")
        busy.let_go.set()
        return await asyncio.gather(*runs)

    assert [run["items"] for run in asyncio.run(all_of_them())] == [["computed 1"]] * 6
    assert busy.count == 1


def test_p5_calls_of_cached_tasks_compute_once_sync_and_async() -> None:
    counted: list[str] = []

    @stock_task(cache_policy=of("call"))
    def slow(text: str) -> str:
        counted.append("sync")
        time.sleep(0.3)  # as long as the others need to find it busy
        return text.upper()

    @stock_task(cache_policy=of("acall"))
    async def aslow(text: str) -> str:
        counted.append("async")
        await asyncio.sleep(0.3)  # likewise
        return text.upper()

    @entrypoint()
    def job(text: str) -> list[str]:
        return [future.result() for future in [slow(text), slow(text)]]

    @entrypoint()
    async def ajob(text: str) -> list[str]:
        return list(await asyncio.gather(aslow(text), aslow(text)))

    attempts = [claim() for _ in range(8)]
    with threads() as pool:
        runs = [pool.submit(go, job, "a", attempt) for attempt in attempts[:4]]
        assert [run.result(PATIENCE) for run in runs] == [["A", "A"]] * 4

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(ago(ajob, "a", attempt) for attempt in attempts[4:]))

    assert asyncio.run(all_of_them()) == [["A", "A"]] * 4
    assert counted == ["sync", "async"]


def test_p5_a_leader_that_fails_is_replaced_at_once_and_its_error_is_its_own() -> None:
    first, second = Busy(), Busy()
    second.let_go.set()

    def node(state: State) -> State:
        if first.count:
            return second(state)
        first(state)
        raise ValueError("no")

    graph = one_node(node)
    attempts = [claim(), claim()]
    with threads() as pool:
        failing = pool.submit(go, graph, None, attempts[0])
        first.wait_begun()
        other = pool.submit(go, graph, None, attempts[1])
        until(lambda: waiting() == 1, "the other waits")
        first.let_go.set()
        with pytest.raises(ValueError, match="no"):
            failing.result(PATIENCE)
        assert other.result(1)["items"] == ["computed 1"]
    assert not NodeFlight.objects.exists()


def flown_by(attempt: Attempt, graph: Any, **changes: Any) -> NodeFlight:
    """A flight for the graph's value, led by an attempt that does nothing: its process is dead, or frozen."""
    busy = Busy()
    with threads(1) as pool:  # where the flight would stand, as one that flies says
        run = pool.submit(go, one_node(busy), None, claim())
        busy.wait_begun()
        flight = NodeFlight.objects.get()
        busy.let_go.set()
        run.result(PATIENCE)
    NodeCacheEntry.objects.all().delete()
    flight.holder, flight.run_id, flight.token = uuid4(), attempt.run_id, attempt.fence.token
    for name, value in changes.items():
        setattr(flight, name, value)
    flight.save(force_insert=True)
    return flight


@pytest.mark.parametrize("how", ["lost", "expired"])
def test_p5_a_leader_that_died_is_replaced(how: str) -> None:
    from datetime import timedelta

    from django.utils import timezone

    busy = Busy()
    busy.let_go.set()
    graph = one_node(busy)
    dead = claim()
    flown_by(dead, graph)
    with threads(1) as pool:
        run = pool.submit(go, graph, None, claim())
        until(lambda: waiting() == 1, "a leader that lives is waited for")
        long_ago = timezone.now() - timedelta(seconds=60)
        if how == "lost":  # as the sweep does
            NodeFlight.objects.update(begun_at=long_ago)
            RunRow.objects.filter(id=dead.run_id).update(token=None, status=RunStatus.QUEUED)
        else:  # nobody sweeps, nobody renews
            NodeFlight.objects.update(begun_at=long_ago, renewed_at=long_ago)
        assert run.result(5)["items"] == ["computed 1"]
    assert not NodeFlight.objects.exists()


def test_p5_a_leader_that_was_taken_over_stores_nothing() -> None:
    busy = Busy()
    graph = one_node(busy)
    with threads(1) as pool:
        run = pool.submit(go, graph, None, claim())
        busy.wait_begun()
        NodeFlight.objects.update(holder=uuid4())
        busy.let_go.set()
        assert run.result(PATIENCE)["items"] == ["computed 1"]
    assert NodeFlight.objects.count() == 1
    assert not NodeCacheEntry.objects.exists()


def test_what_was_computed_before_the_cache_was_cleared_is_not_stored() -> None:
    busy = Busy()
    graph = one_node(busy)
    with threads(1) as pool:
        run = pool.submit(go, graph, None, claim())
        busy.wait_begun()
        DjangoCache[Any]().clear()
        busy.let_go.set()
        run.result(PATIENCE)
    assert not NodeCacheEntry.objects.exists()
    assert not NodeFlight.objects.exists()


# ── fan-outs ────────────────────────────────────────────────────────────────────────────────────────────


def fan_out(sibling: Callable[..., Any], width: int) -> Any:
    """``sibling`` for each number from 0; cached, each under a key of its own."""
    graph = StateGraph(State)
    policy = CachePolicy(key_func=lambda one: one["given"])
    graph.add_node("sibling", sibling, cache_policy=policy)
    graph.add_conditional_edges(START, lambda _: [Send("sibling", {"given": str(n)}) for n in range(width)])
    return graph.compile()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_p5_one_busy_key_holds_up_none_of_its_siblings_however_few_places_there_are(
    asynchronous: bool,
) -> None:
    busy, seen = Busy(), list[str]()

    def sibling(one: State) -> State:
        if one["given"] == "0":
            return busy(one)
        seen.append(one["given"])
        return {"items": [one["given"]]}

    async def asibling(one: State) -> State:
        return await asyncio.to_thread(sibling, one)

    graph = fan_out(asibling if asynchronous else sibling, 12)

    def run(attempt: Attempt) -> Any:
        value = {"given": ""}
        if asynchronous:
            return asyncio.run(ago(graph, value, attempt, max_concurrency=1))
        return go(graph, value, attempt, max_concurrency=1)

    attempts = [claim(), claim()]
    with threads() as pool:
        first = pool.submit(run, attempts[0])
        busy.wait_begun()  # the first holds its only place with the busy key
        second = pool.submit(run, attempts[1])
        until(lambda: len(seen) == 11, "the second computed all others meanwhile")
        assert not second.done()
        busy.let_go.set()
        results = [each.result(PATIENCE)["items"] for each in (first, second)]
    assert busy.count == 1
    assert len(seen) == 11  # the first took those from the second
    assert sorted(results[0]) == sorted(results[1])


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_p5_nodes_that_wait_for_their_calls_give_their_places_too(asynchronous: bool) -> None:
    busy, seen = Busy(), list[str]()

    @stock_task(cache_policy=of("busy"))
    def call() -> str:
        return str(busy()["items"][0])

    @stock_task(cache_policy=of("busy"))
    async def acall() -> str:
        return str((await busy.acall())["items"][0])

    def node(one: State) -> State:
        if one["given"] in "012":
            return {"items": [call().result()]}
        seen.append(one["given"])
        return {"items": [one["given"]]}

    async def anode(one: State) -> State:
        if one["given"] in "012":
            return {"items": [await acall()]}
        seen.append(one["given"])
        return {"items": [one["given"]]}

    graph = StateGraph(State)
    graph.add_node("node", anode if asynchronous else node)
    graph.add_conditional_edges(START, lambda _: [Send("node", {"given": str(n)}) for n in range(10)])
    compiled = graph.compile()

    @entrypoint()
    def leader(_: str) -> str:
        return call().result()

    @entrypoint()
    async def aleader(_: str) -> str:
        return await acall()

    def run(graph: Any, attempt: Attempt, value: Any) -> Any:
        if asynchronous:
            return asyncio.run(ago(graph, value, attempt, max_concurrency=4))
        return go(graph, value, attempt, max_concurrency=4)

    attempts = [claim(), claim()]
    with threads() as pool:
        first = pool.submit(run, aleader if asynchronous else leader, attempts[0], "x")
        busy.wait_begun()
        second = pool.submit(run, compiled, attempts[1], {"given": ""})
        until(lambda: len(seen) == 7, "three nodes and their calls wait, and hold up nobody")
        busy.let_go.set()
        assert first.result(PATIENCE) == "computed 1"
        assert second.result(PATIENCE)["items"].count("computed 1") == 3
    assert busy.count == 1


def test_a_value_that_is_found_while_its_node_begins_is_written_once() -> None:
    class Late(DjangoCache[Any]):
        """Whose answer to ``asker`` comes when the value has been taken by who needed it."""

        asker = 0

        def get(self, keys: Any) -> Any:
            found = super().get(keys)
            if found and threading.get_ident() == self.asker:
                crowd.set()
                until(lambda: bool(taken), "the node has its value")
                time.sleep(0.05)  # and has ended
            return found

    ran, taken, crowd = list[int](), list[str](), threading.Event()
    cache = Late()

    @stock_task
    def call() -> str:
        return "called"

    def caller(one: State) -> State:
        go(one_node(node), None, claims[0])  # elsewhere, after the step has begun
        cache.asker = threading.get_ident()
        call()
        return {"items": []}

    def holds_a_place(one: State) -> State:
        assert crowd.wait(PATIENCE)
        return {"items": []}

    def node(one: State) -> State:
        ran.append(1)
        return {"items": ["value"]}

    claims = [claim(), claim()]
    graph = StateGraph(State)
    graph.add_node("caller", caller)
    graph.add_node("holds_a_place", holds_a_place)
    graph.add_node("node", node, cache_policy=of("same"))
    for name in ("caller", "holds_a_place", "node"):
        graph.add_edge(START, name)
    cache.on_hit = lambda namespace, key: taken.append(key) if threading.get_ident() != cache.asker else None
    attempt = claims[1]
    attached = graph.compile().copy({"checkpointer": DjangoSaver(fence=attempt.fence), "cache": cache})
    with attempt_scope(attempt):
        ended = attached.invoke({"given": "x"}, {**config(attempt), "max_concurrency": 2}, durability="sync")
    assert ended["items"] == ["value"]
    assert ran == [1]


# ── who waits for whom ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_p5_two_that_need_each_others_keys_do_not_wait_for_each_other(asynchronous: bool) -> None:
    both_lead = threading.Barrier(2)
    counted: list[str] = []

    def policy(name: str) -> CachePolicy[Any]:
        return CachePolicy(key_func=lambda _, name=name: name)

    @stock_task(cache_policy=policy("a"))
    def a(inner: bool) -> str:
        counted.append("a")
        if inner:
            both_lead.wait(PATIENCE)
            b(False).result()
        return "a"

    @stock_task(cache_policy=policy("b"))
    def b(inner: bool) -> str:
        counted.append("b")
        if inner:
            both_lead.wait(PATIENCE)
            a(False).result()
        return "b"

    @stock_task(cache_policy=policy("aa"))
    async def aa(inner: bool) -> str:
        counted.append("a")
        if inner:
            await asyncio.to_thread(both_lead.wait, PATIENCE)
            await bb(False)
        return "a"

    @stock_task(cache_policy=policy("bb"))
    async def bb(inner: bool) -> str:
        counted.append("b")
        if inner:
            await asyncio.to_thread(both_lead.wait, PATIENCE)
            await aa(False)
        return "b"

    @entrypoint()
    def ab(_: str) -> str:
        return a(True).result()

    @entrypoint()
    def ba(_: str) -> str:
        return b(True).result()

    @entrypoint()
    async def aabb(_: str) -> str:
        return await aa(True)

    @entrypoint()
    async def bbaa(_: str) -> str:
        return await bb(True)

    def run(graph: Any, attempt: Attempt) -> Any:
        return asyncio.run(ago(graph, "x", attempt)) if asynchronous else go(graph, "x", attempt)

    attempts = [claim(), claim()]
    with threads() as pool:
        first = pool.submit(run, aabb if asynchronous else ab, attempts[0])
        second = pool.submit(run, bbaa if asynchronous else ba, attempts[1])
        assert {first.result(PATIENCE), second.result(PATIENCE)} == {"a", "b"}
    assert 3 <= len(counted) <= 4  # each leads its own; one of them, or both, computed the other's too
    assert not NodeFlight.objects.exists()


def test_p5_two_that_need_the_same_keys_in_opposite_order_share_them() -> None:
    counted: list[str] = []

    @stock_task(cache_policy=CachePolicy(key_func=lambda name: name))
    def value(name: str) -> str:
        counted.append(name)
        time.sleep(0.05)  # as long as the other needs to find it busy
        return name

    @entrypoint()
    def job(names: list[str]) -> list[str]:
        return [future.result() for future in [value(name) for name in names]]

    names = [str(n) for n in range(10)]
    attempts = [claim(), claim()]
    with threads() as pool:
        runs = [
            pool.submit(go, job, order, attempt, max_concurrency=2)
            for order, attempt in zip((names, names[::-1]), attempts, strict=True)
        ]
        assert [run.result(PATIENCE) for run in runs] == [names, names[::-1]]
    assert sorted(counted) == names


def test_p5_a_value_that_is_needed_for_itself_is_computed() -> None:
    depth: list[int] = []

    @stock_task(cache_policy=of("self"))
    def within(level: int) -> int:
        depth.append(level)
        return within(level + 1).result() if level < 2 else level

    @entrypoint()
    def job(_: str) -> int:
        return within(0).result()

    assert go(job, "x", claim()) == 2
    assert depth == [0, 1, 2]


# ── who need not wait any longer ────────────────────────────────────────────────────────────────────────


@contextmanager
def somebody_computes(graph: Any, busy: Busy, asynchronous: bool) -> Iterator[None]:
    attempt = claim()
    with threads(1) as pool:
        run: Future[Any]
        if asynchronous:
            run = pool.submit(lambda: asyncio.run(ago(graph, None, attempt)))
        else:
            run = pool.submit(go, graph, None, attempt)
        busy.wait_begun()
        try:
            yield
        finally:
            busy.let_go.set()
            run.result(PATIENCE)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_r13_who_waits_is_handed_over_at_once(asynchronous: bool) -> None:
    busy = Busy()
    waits, graph = claim(), one_node(busy.acall if asynchronous else busy)
    with threads(1) as pool, somebody_computes(graph, busy, asynchronous):
        if asynchronous:
            run = pool.submit(lambda: asyncio.run(ago(graph, None, waits)))
        else:
            run = pool.submit(go, graph, None, waits)
        until(lambda: waiting() == 1, "it waits")
        waits.control.request_drain("shutdown")
        with pytest.raises(GraphDrained):
            run.result(1)
    assert busy.count == 1


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_run_that_fails_elsewhere_waits_for_nobody(asynchronous: bool) -> None:
    busy = Busy()

    def fails(state: State) -> State:
        until(lambda: waiting() == 1, "its sibling waits")
        raise ValueError("the sibling's")

    async def afails(state: State) -> State:
        return await asyncio.to_thread(fails, state)

    node = busy.acall if asynchronous else busy
    leads = one_node(node)
    graph = StateGraph(State)
    graph.add_node("node", node, cache_policy=of("same"))
    graph.add_node("fails", afails if asynchronous else fails)
    graph.add_edge(START, "node")
    graph.add_edge(START, "fails")
    compiled = graph.compile()
    attempt = claim()
    with threads(1) as pool, somebody_computes(leads, busy, asynchronous):
        if asynchronous:
            run = pool.submit(lambda: asyncio.run(ago(compiled, None, attempt)))
        else:
            run = pool.submit(go, compiled, None, attempt)
        with pytest.raises(ValueError, match="the sibling's"):
            run.result(5)
        assert not busy.let_go.is_set()


def test_p5_a_leader_that_is_cancelled_ends_its_lead() -> None:
    begun = asyncio.Event()

    async def node(state: State) -> State:
        begun.set()
        await asyncio.sleep(PATIENCE)  # cut short when its sibling fails
        return {}

    async def fails(state: State) -> State:
        await begun.wait()
        raise ValueError("the sibling's")

    graph = StateGraph(State)
    graph.add_node("node", node, cache_policy=of("same"))
    graph.add_node("fails", fails)
    graph.add_edge(START, "node")
    graph.add_edge(START, "fails")
    with pytest.raises(ValueError, match="the sibling's"):
        asyncio.run(ago(graph.compile(), None, claim()))
    assert not NodeFlight.objects.exists()
    assert not NodeCacheEntry.objects.exists()


# ── what is stored ──────────────────────────────────────────────────────────────────────────────────────


def test_a_node_that_writes_nothing_is_cached_as_such() -> None:
    ran: list[int] = []

    def node(state: State) -> None:
        ran.append(1)

    graph = one_node(node)
    for _ in range(2):
        assert go(graph, None, claim()) == {"given": "x", "items": []}
    assert ran == [1]


def test_p11_a_value_that_cannot_be_stored_ends_the_lead() -> None:
    def node(state: State) -> Any:
        return {"items": [object()]}

    with pytest.raises(NotSerializableError):
        go(one_node(node), None, claim())
    assert not NodeFlight.objects.exists()
    assert not NodeCacheEntry.objects.exists()


def test_a_node_that_asks_ends_its_lead() -> None:
    def node(state: State) -> State:
        return {"items": [interrupt("well?")]}

    assert "__interrupt__" in go(one_node(node), None, claim())
    assert not NodeFlight.objects.exists()
    assert not NodeCacheEntry.objects.exists()


def test_values_that_live_for_no_time_are_computed_side_by_side() -> None:
    busy = Busy()
    graph = one_node(busy, of("same", ttl=0))
    with threads(2) as pool:
        runs = [pool.submit(go, graph, None, claim()) for _ in range(2)]
        busy.wait_begun()
        busy.wait_begun()
        busy.let_go.set()
        for run in runs:
            run.result(PATIENCE)
    assert busy.count == 2
    assert not NodeFlight.objects.exists()


def test_outside_of_runs_nobody_flies() -> None:
    seen: list[int] = []

    def node(state: State) -> State:
        seen.append(NodeFlight.objects.count())
        return {"items": ["x"]}

    graph = one_node(node).copy({"cache": DjangoCache()})
    for _ in range(2):
        assert graph.invoke({"given": "x"})["items"] == ["x"]
    assert seen == [0]
    tally().write("default", pause=0)
    entry = NodeCacheEntry.objects.get()
    assert (entry.hits, entry.misses) == (1, 1)
    assert entry.cost is not None


def test_a_subgraphs_own_cache_flies_as_well() -> None:
    busy = Busy()
    inner = StateGraph(State)
    inner.add_node("node", busy, cache_policy=of("inner"))
    inner.add_edge(START, "node")
    outer = StateGraph(State)
    outer.add_node("inner", inner.compile(cache=DjangoCache()))
    outer.add_edge(START, "inner")
    compiled = outer.compile()
    attempts = [claim(), claim(), claim()]
    with threads() as pool:
        runs = [pool.submit(go, compiled, None, attempt) for attempt in attempts]
        busy.wait_begun()
        until(lambda: waiting() == 2, "the others wait")
        busy.let_go.set()
        assert all(run.result(PATIENCE)["items"] == ["computed 1"] for run in runs)
    assert busy.count == 1


def test_a_lease_of_a_process_without_heartbeat_is_renewed(settings: Any) -> None:
    settings.HOLDFAST = {**settings.HOLDFAST, "LEASE": 2.0, "IDLE_IN_TRANSACTION": 1.0}
    busy = Busy()
    graph = one_node(busy)
    with somebody_computes(graph, busy, False):
        begun = NodeFlight.objects.get()
        until(lambda: NodeFlight.objects.get().renewed_at > begun.renewed_at, "it is renewed")
        assert NodeFlight.objects.get().begun_at == begun.begun_at


def test_the_executor_of_tests_attaches_the_same() -> None:
    assert execute(one_node(lambda _: {"items": ["y"]}), {"given": "x"}, claim(), cache=DjangoCache())[
        "items"
    ] == ["y"]
    assert NodeCacheEntry.objects.count() == 1
