"""A graph that shows in its state what happened to it: each step of each run appends to one list.

A run named ``a`` with three steps leaves ``a>`` (its input), ``a.0``, ``a.1``, ``a.2`` on its thread: an
input that was applied twice, a step that ran twice, or two runs between each other's steps all show.
"""

from __future__ import annotations

import operator
import os
import time
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from holdfast.graphs.registry import register
from tests.acceptance.gates import wait_at


class Page(TypedDict, total=False):
    """What one run writes. Steps are counted from 0."""

    name: Required[str]
    notes: Annotated[list[str], operator.add]
    """Appended when the input is applied: by convention ``<name>>``."""
    steps: int
    seconds: float
    """How long each step takes."""
    log: str | None
    """A file that gets one line ``<name>.<step> <process id>`` for each execution."""
    gate: str | None
    """A file that step ``gate_at`` waits for, after it has written its line."""
    gate_at: int
    fail_unless: str | None
    """A file without which the last step raises."""
    ask_at: int | None
    """The step that asks ``{"name": …}`` and appends ``<name>=<answer>``."""


class Journal(Page, total=False):
    """The page that is being written, on top of all notes so far."""

    step: int


def begin(page: Journal) -> dict[str, Any]:
    """Count from 0 again: the thread may have had a run before."""
    return {"step": 0}


def write(page: Journal) -> dict[str, Any]:
    """One step."""
    name, step = page["name"], page["step"]
    if log := page.get("log"):
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, f"{name}.{step} {os.getpid()}\n".encode())  # one write: lines do not mix
        os.close(descriptor)
    gate = page.get("gate")
    if gate and step == page.get("gate_at", 0):
        wait_at(gate)
    time.sleep(page.get("seconds", 0.0))  # the work
    if (needed := page.get("fail_unless")) and step == page.get("steps", 1) - 1 and not Path(needed).exists():
        raise RuntimeError(f"{needed} is not there")
    note = f"{name}.{step}"
    if page.get("ask_at") == step:
        note = f"{name}={interrupt({'name': name})}"
    return {"notes": [note], "step": step + 1}


def more(page: Journal) -> str:
    """On to the next step, or the end."""
    return "write" if page["step"] < page.get("steps", 1) else END


def _graph() -> StateGraph[Journal, None, Page, Journal]:
    graph = StateGraph(Journal, input_schema=Page)
    graph.add_node("begin", begin)
    graph.add_node("write", write)
    graph.add_edge(START, "begin")
    graph.add_conditional_edges("begin", more, ["write", END])
    graph.add_conditional_edges("write", more, ["write", END])
    return graph


@register("journal")
def journal() -> StateGraph[Journal, None, Page, Journal]:
    """As any graph."""
    return _graph()


@register("hardy_journal", max_crashes=1000)
def hardy_journal() -> StateGraph[Journal, None, Page, Journal]:
    """For trials that kill at random: however often it dies in one place, it is never set aside."""
    return _graph()
