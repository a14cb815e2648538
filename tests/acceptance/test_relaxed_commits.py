"""The database crashes, and commits that did not wait for the disk are lost: nobody goes on from them (P3, P4, R9)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypedDict

import pytest
from django.db import connection, connections
from langgraph.func import entrypoint
from langgraph.graph import END, START, StateGraph
from pytest_django.plugin import DjangoDbBlocker

import holdfast
from holdfast import current_effect, task
from holdfast.graphs.registry import register
from holdfast.persistence import ledger
from holdfast.persistence.connections import close_pools
from holdfast.persistence.saver.statements import Statements
from holdfast.runner.runs.attend import attend
from holdfast.testing import run_now
from tests.acceptance.databases import Database, django_uses
from tests.servers import PrivatePostgres, private_postgres

__all__ = ["private_postgres"]

STEPS = 8
FLUSHED_IN, CRASHED_IN = 2, 5

executed: list[int] = []
keys: list[str] = []
crash: Callable[[], None] = lambda: None  # noqa: E731 - set by each test


class Walk(TypedDict, total=False):
    done: list[int]


def walk(state: Walk) -> Walk:
    done = state.get("done", [])
    number = len(done)
    executed.append(number)
    if number == FLUSHED_IN:
        with connection.cursor() as cursor:
            cursor.execute("SELECT txid_current()")  # its commit waits, and takes along what came before
    if number == CRASHED_IN and executed.count(number) == 1:
        crash()
    return {"done": [*done, number]}


def graph() -> StateGraph[Walk, None, Walk, Walk]:
    builder = StateGraph(Walk)
    builder.add_node("walk", walk)
    builder.add_edge(START, "walk")
    builder.add_conditional_edges("walk", lambda state: END if len(state["done"]) == STEPS else "walk")
    return builder


@register("relaxed-walk", commit="relaxed")
def relaxed_walk() -> StateGraph[Walk, None, Walk, Walk]:
    return graph()


@register("durable-walk")
def durable_walk() -> StateGraph[Walk, None, Walk, Walk]:
    return graph()


@task
def pay(amount: int) -> int:
    keys.append(current_effect().key)
    if len(keys) == 1:
        crash()
    return amount


@register("relaxed-payment", commit="relaxed")
@entrypoint()
def payment(amount: int) -> int:
    return pay(amount).result()


@pytest.fixture(scope="module")
def server(
    private_postgres: PrivatePostgres, django_db_blocker: DjangoDbBlocker
) -> Iterator[PrivatePostgres]:
    """A server that writes nothing to the disk by itself, with a migrated database that this process uses."""
    with private_postgres.connect() as admin:
        admin.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    private_postgres.restart("fast")
    there = Database(host="127.0.0.1", port=str(private_postgres.port), user="postgres", password="")
    database = there.create("relaxed")
    database.migrate()
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        stack.enter_context(django_uses(database))
        yield private_postgres
        close_pools()


@pytest.fixture(autouse=True)
def _fresh(server: PrivatePostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    executed.clear()
    keys.clear()

    def restart() -> None:
        server.restart("immediate")
        connections.close_all()

    monkeypatch.setattr(f"{__name__}.crash", restart)
    connections.close_all()
    ledger.sweep_lost()  # which notes the server's incarnation, as the sweep of any worker does


def attempts(run: Any) -> Any:
    """The run after the attempt in which the server crashed, and after the next one."""
    attend(run.id)
    connections.close_all()  # this thread's, which the crash has ended
    run = holdfast.get(run.id)
    assert run.status == "queued", "given back at once, not when its lease runs out"
    assert run.crashes == 0
    ledger.sweep_lost()
    run = run_now(run)
    assert run.status == "succeeded", run.error
    return run


def test_p3_the_attempt_that_outlives_the_crash_does_not_go_on_from_what_was_lost() -> None:
    run = attempts(holdfast.enqueue("relaxed-walk", {}))
    again = executed.index(CRASHED_IN) + 1
    assert executed[:again] == list(range(CRASHED_IN + 1))
    first = executed[again]
    assert FLUSHED_IN <= first < CRASHED_IN, "what waited for no disk was lost, and nothing else"
    assert executed[again:] == list(range(first, STEPS))
    assert run.result["done"] == list(range(STEPS))
    steps = [state.values.get("done", []) for state in holdfast.history(run.thread_id)]
    assert steps[: STEPS + 1] == [list(range(n)) for n in range(STEPS, -1, -1)], "no hole in the history"


def test_p3_a_durable_graph_survives_the_crash_in_one_attempt() -> None:
    run = holdfast.enqueue("durable-walk", {})
    attend(run.id)
    connections.close_all()
    run = holdfast.get(run.id)
    assert run.status == "succeeded", run.error
    assert (run.deliveries, executed) == (1, list(range(STEPS)))


def test_p4_an_effect_is_recognised_after_the_crash() -> None:
    """Its checkpoint, which its key hangs on, was on the disk before it began."""
    run = attempts(holdfast.enqueue("relaxed-payment", 7))
    assert run.result == 7
    assert len(keys) == 1


@pytest.mark.parametrize("which", ["relaxed-walk", "durable-walk"])
def test_r5_the_input_is_applied_once_although_its_checkpoint_was_lost(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = holdfast.enqueue(which, {"done": [0]})
    after(1, monkeypatch)
    monkeypatch.setattr(f"{__name__}.CRASHED_IN", -1)
    run = attempts(run)
    assert run.result["done"] == list(range(STEPS))
    assert [state.metadata["source"] for state in holdfast.history(run.thread_id)].count("input") == 1


def test_p1_a_run_does_not_succeed_without_its_last_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.CRASHED_IN", -1)
    run = holdfast.enqueue("relaxed-walk", {})
    after(STEPS + 2, monkeypatch)
    run = attempts(run)
    assert run.result["done"] == list(range(STEPS))
    assert holdfast.state(run.thread_id).values == run.result


def after(puts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server crash when so many checkpoints have been committed, after a commit that made the claim durable."""
    original, seen = Statements.rows, []

    def rows(self: Any, ask: Any) -> Any:
        if ask.name == "saver_put_fenced" and not seen:
            with connection.cursor() as cursor:
                cursor.execute("SELECT txid_current()")
        found = original(self, ask)
        if ask.name == "saver_put_fenced":
            seen.append(ask)
            if len(seen) == puts:
                crash()
        return found

    monkeypatch.setattr(Statements, "rows", rows)
