"""The shared node cache: TTL, batches, namespaces, and bytes that are never code (P5, P12)."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy

from holdfast import task
from holdfast.errors import NotSerializableError
from holdfast.persistence import DjangoCache
from holdfast.persistence.connections import pool
from holdfast.persistence.models import NodeCacheEntry
from tests.integration.attempts import claim, execute
from tests.integration.test_effects_keyed import State

pytestmark = pytest.mark.django_db(transaction=True)

A, B = (("ns", "a"), "k"), (("ns",), "k")


@pytest.fixture
def later() -> Any:
    """Moves the database's clock, for every connection of the pool, by seconds."""

    def move(seconds: float) -> None:
        with pool("default").connection() as live:
            live.execute("SELECT set_config('holdfast.clock_offset', %s, false)", [f"{seconds} seconds"])

    return move


def test_values_are_shared_by_instances_and_namespaces_are_kept_apart() -> None:
    DjangoCache[Any]().set({A: ({"x": [1, None]}, None), B: (2, 60), (("c", "d", "e"), "k"): (None, None)})
    assert DjangoCache[Any]().get([A, B, (("ns", "b"), "k"), A]) == {A: {"x": [1, None]}, B: 2}
    assert DjangoCache[Any]().get([(("c", "d", "e"), "k")]) == {(("c", "d", "e"), "k"): None}
    assert DjangoCache[Any]().get([]) == {}


def test_what_has_expired_is_not_returned_nor_deleted_by_a_reader(later: Any) -> None:
    cache = DjangoCache[Any]()
    cache.set({A: (1, 60), B: (2, None)})
    later(59)
    assert cache.get([A, B]) == {A: 1, B: 2}
    later(61)
    assert cache.get([A, B]) == {B: 2}
    assert NodeCacheEntry.objects.count() == 2
    cache.set({A: (3, 60)})
    assert cache.get([A]) == {A: 3}


def test_clear_takes_exactly_the_namespaces() -> None:
    cache = DjangoCache[Any]()
    cache.set({A: (1, None), B: (2, None)})
    cache.clear([])
    cache.clear([("ns",)])
    assert cache.get([A, B]) == {A: 1}
    cache.clear()
    assert cache.get([A]) == {}


def test_the_async_twins_do_the_same() -> None:
    async def use() -> None:
        cache = DjangoCache[Any]()
        await cache.aset({A: (1, None), B: (2, None)})
        assert await cache.aget([A, B]) == {A: 1, B: 2}
        await cache.aclear([("ns", "a")])
        assert await cache.aget([A, B]) == {B: 2}

    asyncio.run(use())


def test_a_batch_is_one_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.persistence import node_cache

    calls: list[str] = []
    original = node_cache.retrying

    def counted(alias: str, work: Any) -> Any:
        calls.append(alias)
        return original(alias, work)

    monkeypatch.setattr(node_cache, "retrying", counted)
    many = {(("ns", str(i)), "k"): (i, None) for i in range(500)}
    DjangoCache[Any]().set(many)
    with CaptureQueriesContext(connection) as django:
        assert len(DjangoCache[Any]().get(list(many))) == 500
    assert calls == ["default", "default"]
    assert not django.captured_queries


def test_p12_a_pickle_in_the_table_is_never_loaded(caplog: pytest.LogCaptureFixture) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("unpickled",))

    cache = DjangoCache[Any]()
    cache.set({A: (1, None), B: (2, None)})
    NodeCacheEntry.objects.filter(namespace=list(A[0])).update(type="pickle", value=pickle.dumps(Bomb()))
    assert cache.get([A, B]) == {B: 2}
    assert "'pickle'" in caplog.text


def test_p11_a_value_that_cannot_be_stored_is_refused_and_nothing_is_written() -> None:
    with pytest.raises(NotSerializableError):
        DjangoCache[Any]().set({A: (1, None), B: (object(), None)})
    assert not NodeCacheEntry.objects.exists()


def test_a_graph_and_a_task_use_it_and_each_hit_is_told() -> None:
    ran: list[str] = []
    hits: list[str] = []

    def node(state: State) -> State:
        ran.append("node")
        return {"items": ["x"]}

    graph = StateGraph(State)
    graph.add_node("node", node, cache_policy=CachePolicy(key_func=lambda state: "same", ttl=60))
    graph.add_edge(START, "node")
    compiled = graph.compile()

    @task(cache_policy=CachePolicy(ttl=60))
    def summarise(text: str) -> str:
        ran.append("task")
        return text[:1]

    @entrypoint()
    def job(text: str) -> str:
        return summarise(text).result()

    for _ in range(2):
        cache = DjangoCache[Any](on_hit=lambda namespace, key: hits.append(namespace[-1]))
        assert execute(compiled, {"items": []}, claim(), cache=cache)["items"] == ["x"]
        assert execute(job, "abc", claim(), cache=cache) == "a"
    assert ran == ["node", "task"]
    assert len(hits) == 2
    assert any("summarise" in hit for hit in hits)
