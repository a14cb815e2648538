"""On Django's own connection: what the saver stores belongs to the caller's transaction, whoever calls it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph

from holdfast.persistence import DjangoSaver
from holdfast.persistence.models import Checkpoint
from tests.integration.claims import State, a_checkpoint, chain, config_for


def parallel() -> StateGraph[State, None, State, State]:
    graph = StateGraph(State)
    for number in range(4):
        graph.add_node(f"n{number}", lambda state, number=number: {"items": [f"n{number}"]})
        graph.add_edge(START, f"n{number}")
        graph.add_edge(f"n{number}", END)
    return graph


@task
def double(number: int) -> int:
    return 2 * number


@pytest.mark.django_db
@pytest.mark.parametrize("graph", [chain(5), parallel()], ids=["chain", "parallel"])
def test_under_testcase_a_graphs_checkpoints_are_the_tests_and_are_rolled_back(graph: Any) -> None:
    assert connection.in_atomic_block, "as TestCase does"
    name = str(uuid4())
    compiled = graph.compile(checkpointer=DjangoSaver(connection=connection))
    before = transaction.savepoint()
    ended = compiled.invoke({"items": []}, config_for(name), durability="sync")
    assert compiled.get_state(config_for(name)).values == ended
    assert Checkpoint.objects.filter(thread_id=name).count() >= 3, "the same transaction sees them"
    transaction.savepoint_rollback(before)
    assert not Checkpoint.objects.filter(thread_id=name).exists()


@pytest.mark.django_db
def test_an_entrypoints_tasks_take_turns_on_it() -> None:
    @entrypoint(checkpointer=DjangoSaver(connection=connection))
    def add(numbers: list[int]) -> int:
        return sum(future.result() for future in [double(number) for number in numbers])

    name = str(uuid4())
    assert add.invoke(list(range(10)), config_for(name), durability="sync") == 90
    assert Checkpoint.objects.filter(thread_id=name).exists()


@pytest.mark.django_db
def test_async_calls_take_turns_on_it_too() -> None:
    saver, name = DjangoSaver(connection=connection), str(uuid4())
    ended = asyncio.run(chain(3).compile(checkpointer=saver).ainvoke({"items": []}, config_for(name)))
    assert saver.get_tuple(config_for(name)).checkpoint["channel_values"]["items"] == ended["items"]
    assert Checkpoint.objects.filter(thread_id=name).exists()


@pytest.mark.django_db
def test_another_thread_uses_the_connection_of_the_one_that_made_the_saver() -> None:
    saver, name = DjangoSaver(connection=connection), str(uuid4())
    checkpoint, versions = a_checkpoint(saver, items=[1])
    there = threading.Thread(target=saver.put, args=(config_for(name), checkpoint, {}, versions))
    there.start()
    there.join()
    assert Checkpoint.objects.filter(thread_id=name).count() == 1, "in this thread's open transaction"


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_django_has_closed_meanwhile_is_opened_again() -> None:
    saver, name = DjangoSaver(connection=connection), str(uuid4())
    connection.close()
    checkpoint, versions = a_checkpoint(saver, items=[1])
    saver.put(config_for(name), checkpoint, {}, versions)
    assert saver.get_tuple(config_for(name)) is not None
    assert Checkpoint.objects.filter(thread_id=name).count() == 1


@pytest.mark.django_db(transaction=True)
def test_p3_a_plain_savers_checkpoint_is_not_stored_before_the_writes_that_have_begun(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """LangGraph waits for put, not for put_writes, which it calls on another thread."""
    from holdfast.persistence.saver.statements import Statements

    settings.HOLDFAST = {"POOL_SIZE": 2}
    saver, order, original = DjangoSaver(), [], Statements.rows
    begun, go_on = threading.Event(), threading.Event()

    def rows(self: Any, ask: Any) -> Any:
        if ask.name == "saver_put_writes":
            begun.set()
            assert go_on.wait(20)
        found = original(self, ask)
        order.append(ask.name)
        return found

    monkeypatch.setattr(Statements, "rows", rows)
    first, versions = a_checkpoint(saver, items=[1])
    config = saver.put(config_for(str(uuid4())), first, {}, versions)
    second, versions = a_checkpoint(saver, items=[2])
    writing = threading.Thread(target=saver.put_writes, args=(config, [("items", [2])], "task"))
    putting = threading.Thread(target=saver.put, args=(config, second, {}, versions))
    writing.start()
    assert begun.wait(20)
    putting.start()
    putting.join(0.3)
    assert putting.is_alive(), "it waits"
    elsewhere, versions = a_checkpoint(saver, items=[3])
    saver.put(config_for(str(uuid4())), elsewhere, {}, versions)
    go_on.set()
    writing.join(20)
    putting.join(20)
    assert order == ["saver_put", "saver_put", "saver_put_writes", "saver_put"]
