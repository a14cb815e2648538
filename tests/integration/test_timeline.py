"""The timeline keeps its line and who asked, whatever becomes of the thread's Django connections (P13)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, TypedDict
from uuid import uuid4

import pytest
from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from holdfast.persistence.connections import close_django_connections, drop_dead_django_connections
from holdfast.runner.runs.timeline import Timeline

pytestmark = pytest.mark.django_db(transaction=True)


class State(TypedDict, total=False):
    """Nothing is kept."""

    nothing: str


def _made_elsewhere() -> BaseDatabaseWrapper:
    """A connection of another thread, ended by its server: Django refuses to let this thread close it."""
    made: list[BaseDatabaseWrapper] = []

    def make() -> None:
        wrapper = connections["default"].copy()
        wrapper.ensure_connection()
        wrapper.connection.close()
        made.append(wrapper)
        connections["default"].close()

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


@pytest.fixture
def left_behind() -> Iterator[None]:
    """This thread has such a connection in the place of its own."""
    own = connections["default"]
    connections["default"] = _made_elsewhere()
    yield
    connections["default"] = own


@pytest.mark.usefixtures("left_behind")
def test_p13_a_connection_that_cannot_be_closed_loses_neither_the_line_nor_who_asked() -> None:
    with pytest.raises(DatabaseError, match="thread"):
        drop_dead_django_connections()
    refused: list[DatabaseError] = []

    def ask(state: State) -> Any:
        connections["default"] = _made_elsewhere()  # in this thread, if it is another
        try:
            close_django_connections()
        except DatabaseError as error:
            refused.append(error)
        interrupt("go on?")

    graph = StateGraph(State)
    for name in ("left", "right"):  # two, so that LangGraph takes threads of its own
        graph.add_node(name, ask)
        graph.add_edge(START, name)
    run_id = uuid4()
    timeline = Timeline(run_id=run_id, delivery=1, owner="one")
    graph.compile(checkpointer=InMemorySaver()).invoke(
        {"nothing": ""}, {"configurable": {"thread_id": "t"}, "callbacks": [timeline]}
    )
    assert len(refused) == 2
    lines = timeline.take()
    assert sorted((line.node, line.outcome) for line in lines) == [
        ("left", "interrupted"),
        ("right", "interrupted"),
    ]
    assert timeline.asking() == {line.task_id: line.node for line in lines}


@pytest.mark.usefixtures("left_behind")
def test_p13_nor_does_one_that_is_found_dead_when_a_node_begins() -> None:
    graph = StateGraph(State)
    graph.add_node("only", lambda state: {"nothing": ""})  # one alone is executed in this thread
    graph.add_edge(START, "only")
    timeline = Timeline(run_id=uuid4(), delivery=1, owner="one")
    graph.compile().invoke({"nothing": ""}, {"callbacks": [timeline]})
    assert [(line.node, line.outcome) for line in timeline.take()] == [("only", "done")]
