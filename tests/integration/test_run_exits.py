"""A run whose node ends itself, or raises what cannot be told, fails with that as its reason (P1, P9)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any, TypedDict

import pytest
from django.db import connections
from langgraph.graph import START, StateGraph

import holdfast
from holdfast.graphs import registry
from holdfast.persistence.records import Run
from holdfast.testing import run_now

pytestmark = pytest.mark.django_db(transaction=True)


class Text(TypedDict, total=False):
    """Nothing much."""

    said: str


class UnspeakableError(Exception):
    """What a careless library raises."""

    def __str__(self) -> str:
        raise AttributeError("response")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.all()  # what is found by discovery stays
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))


def _graph(name: str, node: Any, beside: Any = None) -> None:
    graph = StateGraph(Text)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    if beside is not None:  # then LangGraph executes both in threads of its own
        graph.add_node("beside", beside)
        graph.add_edge(START, "beside")
    holdfast.register(name)(lambda: graph)


def _executed(graph: str) -> Run:
    """The run, executed on a thread, as by a pool of threads. Raises AssertionError if it never returns."""
    run = holdfast.enqueue(graph, {})

    def work() -> None:
        try:
            run_now(run)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "the executor hangs"
    return holdfast.get(run.id)


@pytest.mark.parametrize("exit_", [SystemExit(3), KeyboardInterrupt()], ids=["exit", "interrupt"])
@pytest.mark.parametrize("parallel", [False, True], ids=["one", "parallel"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_p9_a_node_that_exits_fails_its_run_and_the_next_is_executed(
    exit_: BaseException, parallel: bool, asynchronous: bool
) -> None:
    def node(state: Text) -> Text:
        raise exit_

    def good(state: Text) -> Text:
        return {"said": "good"}

    async def anode(state: Text) -> Text:
        raise exit_

    async def agood(state: Text) -> Text:
        return {"said": "good"}

    bad, well = (anode, agood) if asynchronous else (node, good)
    _graph("exits", bad, well if parallel else None)
    _graph("stays", well)
    run = _executed("exits")
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["type"] == type(exit_).__name__
    assert "node" in run.error["traceback"]
    assert _executed("stays").status == "succeeded", "async graphs share one loop"


def test_p1_an_error_whose_text_cannot_be_had_fails_the_run() -> None:
    def node(state: Text) -> Text:
        raise UnspeakableError

    _graph("unspeakable", node)
    run = _executed("unspeakable")
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["type"].endswith("UnspeakableError")
    assert "AttributeError" in run.error["message"]


@pytest.fixture
def told() -> Iterator[None]:
    def go(number: int, frame: Any) -> None:
        raise SystemExit(-number)

    # In the background of a shell Ctrl-C is ignored, and so it is in what a shell starts there.
    before = {
        signal.SIGUSR2: signal.signal(signal.SIGUSR2, go),
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGINT], ids=["handler", "ctrl-c"])
def test_p7_a_process_that_is_told_to_go_in_a_node_gives_its_run_back(number: signal.Signals) -> None:
    told: list[bool] = []

    def node(state: Text) -> Text:
        if not told:
            told.append(True)
            signal.raise_signal(number)
        return {"said": "done"}

    _graph("told", node)
    run = holdfast.enqueue("told", {})
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        run_now(run)
    given_back = holdfast.get(run.id)
    assert (given_back.status, given_back.crashes) == ("queued", 0)
    assert run_now(run).status == "succeeded"
