"""Graphs whose nodes end their process: for ever, or once at each place.

``places`` in the state is a folder; a node that is to die once leaves a file there first.
"""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

from langgraph.config import get_config
from langgraph.func import entrypoint
from langgraph.func import task as plain_task
from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel
from langgraph.types import interrupt

from holdfast import task
from holdfast.graphs.examples.long_steps import EXIT_CODE, read_log
from holdfast.graphs.registry import register
from tests.acceptance.waiting import until

PLACES = 10
"""How many places a run that moves on dies at."""


class Journey(TypedDict, total=False):
    """Where it dies, and how far it has come."""

    places: Required[str]
    neighbours: list[str]
    """Logs of long_steps graphs: the poison waits for each to begin in its own process."""
    at: int
    been: Annotated[list[int], operator.add]


Graph = StateGraph[Journey, None, Journey, Journey]
Compiled = Pregel[Any, Any, Any, Any]


def die() -> None:
    """As a fault in C does it: nothing is cleaned up."""
    os._exit(EXIT_CODE)


def die_once(state: Journey, place: int) -> int:
    """At the first execution of this place."""
    try:
        os.close(os.open(Path(state["places"]) / str(place), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return place
    die()
    raise AssertionError("unreachable")


# ── poison ───────────────────────────────────────────────────────────────────────────────────────


def poison(state: Journey) -> Journey:
    """Dies at every execution, once its neighbours are there to be taken along (or after a second)."""
    give_up = time.monotonic() + 1.0
    while time.monotonic() < give_up and not all(_here(log) for log in state.get("neighbours", [])):
        time.sleep(0.01)  # the neighbours say so in files
    die()
    return state


def _here(log: str) -> bool:
    return Path(log).exists() and any(line[3] == os.getpid() for line in read_log(log))


def fine(state: Journey) -> dict[str, Any]:
    """Finishes."""
    return {"been": [0]}


def ask(state: Journey) -> dict[str, Any]:
    """Asks."""
    return {"been": [int(interrupt("how far?"))]}


def _graph(**nodes: Callable[[Journey], Any] | Compiled) -> Graph:
    graph = StateGraph(Journey)
    before = START
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(before, name)
        before = name
    return graph


@register("dying.poison")
def poisoned() -> Graph:
    """A node that finishes, then the poison."""
    return _graph(fine=fine, poison=poison)


@register("dying.below")
def poisoned_below() -> Graph:
    """The poison in a subgraph, behind a node that finishes."""
    return _graph(sub=_graph(fine=fine, poison=poison).compile())


@register("dying.below_at_once")
def poisoned_below_at_once() -> Graph:
    """The poison as the first node of a subgraph in a subgraph."""
    return _graph(sub=_graph(sub=_graph(poison=poison).compile()).compile())


@register("dying.called")
def poisoned_called() -> Graph:
    """The poison in a graph that a node calls."""
    inner = _graph(fine=fine, poison=poison).compile()

    def caller(state: Journey) -> dict[str, Any]:
        return {"been": inner.invoke({"places": state["places"], "been": []})["been"]}

    return _graph(fine=fine, caller=caller)


@register("dying.beside_a_question")
def poisoned_beside_a_question() -> Graph:
    """The poison beside a node that asks, and so writes its question at every attempt."""
    graph = StateGraph(Journey)
    for name, node in {"ask": ask, "poison": poison, "fine": fine}.items():
        graph.add_node(name, node)
        graph.add_edge(START, name)
    return graph


@register("dying.after_an_answer")
def poisoned_after_an_answer() -> Graph:
    """The poison in a node that was answered, so that every attempt is sent the answer again."""

    def asked(state: Journey) -> Any:
        interrupt("how far?")
        return poison(state)

    return _graph(asked=asked)


@plain_task
def poison_task(state: Journey) -> Journey:
    """The poison as a task."""
    return poison(state)


@plain_task
def fine_task(place: int) -> int:
    """Finishes."""
    return place


@entrypoint()
def poisoned_function(state: Journey) -> list[int]:
    """Some tasks that finish, then the poison."""
    done = [future.result() for future in [fine_task(place) for place in range(5)]]
    poison_task(state).result()
    return done


@register("dying.entrypoint")
def poisoned_entrypoint() -> Compiled:
    """The poison in an @entrypoint."""
    return poisoned_function


@task(effect="keyed")
def poison_effect(state: Journey) -> Journey:
    """The poison as an effect, which is begun again at every attempt."""
    return poison(state)


@register("dying.effect")
def poisoned_effect() -> Graph:
    """The poison in an effect."""

    def node(state: Journey) -> Any:
        return poison_effect(state).result()

    return _graph(fine=fine, node=node)


POISONED = {
    "dying.poison",
    "dying.below",
    "dying.below_at_once",
    "dying.called",
    "dying.beside_a_question",
    "dying.after_an_answer",
    "dying.entrypoint",
    "dying.effect",
}

# ── moving on ────────────────────────────────────────────────────────────────────────────────────


def step(state: Journey) -> dict[str, Any]:
    """Dies at the first visit to each place."""
    place = state.get("at", 0)
    return {"been": [die_once(state, place)], "at": place + 1}


def _steps() -> Graph:
    graph = StateGraph(Journey)
    graph.add_node("step", step)
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda state: END if state["at"] == PLACES else "step")
    return graph


@register("moving.steps")
def moving() -> Graph:
    """Super-steps: each death comes one checkpoint later."""
    return _steps()


@register("moving.below")
def moving_below() -> Graph:
    """The same in a subgraph: the root's checkpoint stays."""

    def home(state: Journey) -> dict[str, Any]:
        return {"at": 0}

    return _graph(home=home, sub=_steps().compile())


@plain_task
def travel(state: Journey, place: int) -> int:
    """Dies at its first execution, once the results of those before it are stored: it has moved on by them."""
    thread_id = get_config()["configurable"]["thread_id"]
    until(lambda: _results(thread_id) >= place, 10, "the results before this one are durable")
    return die_once(state, place)


def _results(thread_id: str) -> int:
    from holdfast.persistence.models import CheckpointWrite  # the registry's modules load before the models

    return CheckpointWrite.objects.filter(thread_id=thread_id).values("task_id").distinct().count()


@entrypoint()
def traveller(state: Journey) -> dict[str, Any]:
    """Many tasks, one checkpoint."""
    return {"been": [travel(state, place).result() for place in range(PLACES)]}


@register("moving.entrypoint")
def moving_entrypoint() -> Compiled:
    """Tasks: each death comes one recorded result later, on the same checkpoint."""
    return traveller


@task(effect="keyed")
def visit(place: int) -> int:
    """An effect that finishes."""
    return place


@register("moving.effects")
def moving_effects() -> Graph:
    """Effects in one node: each death comes one finished effect later."""

    def node(state: Journey) -> dict[str, Any]:
        been = []
        for place in range(PLACES):
            been.append(visit(place).result())
            die_once(state, place)
        return {"been": been}

    return _graph(node=node)


MOVING = {"moving.steps", "moving.below", "moving.entrypoint", "moving.effects"}
