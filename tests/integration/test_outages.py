"""P9: an outage is no fault of a run's, but a run that breaks its own connections is not given back for ever."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Timer
from typing import Any, TypedDict

import pytest
from django.db import DatabaseError, connection, connections
from langgraph.graph import START, StateGraph

import holdfast
from holdfast.errors import RunFailedError
from holdfast.graphs import registry
from holdfast.persistence.connections import connect
from holdfast.persistence.records import Run
from holdfast.runner.runs.attend import attend
from tests.integration.lifecycle import bells

__all__ = ["bells"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("bells")]


class Nothing(TypedDict, total=False):
    """Nothing much."""

    said: str


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.all()  # what is found by discovery stays
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))


def _executed(node: Callable[[Nothing], Any]) -> Run:
    graph = StateGraph(Nothing)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    holdfast.register("breaks")(lambda: graph)
    run = holdfast.enqueue("breaks", {})

    def work() -> None:  # on connections of its own, as the test goes on with this thread's
        try:
            attend(run.id)
        except RunFailedError:
            pass
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as worker:
        worker.submit(work).result(60)
    return holdfast.get(run.id)


def _break_connection() -> None:
    """As a query does for which the server has not memory enough."""
    with suppress(DatabaseError), connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_p9_a_node_whose_own_connection_breaks_fails_its_run() -> None:
    def node(state: Nothing) -> Nothing:
        _break_connection()
        return {"said": holdfast.get("0197a000-0000-7000-8000-000000000000").graph}

    run = _executed(node)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["type"] == "holdfast.errors.DatabaseUnreachableError"


def test_p9_a_transaction_that_always_breaks_fails_its_run(settings: Any) -> None:
    settings.HOLDFAST = {"LEASE": 2.0, "IDLE_IN_TRANSACTION": 1.0, "HEARTBEAT": 0.1}

    @holdfast.task(effect="transactional")
    def heavy() -> str:
        _break_connection()
        return "done"

    def node(state: Nothing) -> Nothing:
        return {"said": heavy().result()}

    run = _executed(node)
    assert run.status == "failed"
    assert run.error is not None
    assert "broke its transaction again and again" in run.error["message"]


_FULL = (
    """CREATE FUNCTION a_full_disk() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$""",
    "CREATE TRIGGER a_full_disk BEFORE INSERT ON checkpoints EXECUTE FUNCTION a_full_disk()",
)


def test_p1_a_database_without_space_fails_no_run() -> None:
    with connect("default") as other:
        for statement in _FULL:
            other.execute(statement)
        space = Timer(1.0, lambda: other.execute("DROP FUNCTION a_full_disk CASCADE"))
        space.start()
        try:
            run = _executed(lambda state: {"said": "saved"})
        finally:
            space.join()
    assert (run.status, run.crashes, run.deliveries) == ("succeeded", 0, 1), run.error
