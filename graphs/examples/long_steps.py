"""Graphs that take their time and say what they did: for trials in which workers are killed.

Three graphs do the same work. ``long_steps``: a loop of super-steps, each of ``width`` parallel
siblings. ``long_steps_async``: the same with async nodes. ``long_steps_tasks``: an ``@entrypoint``
that calls ``width`` tasks a step. Each executed step appends one line to ``log``
(``<step> <sibling> <process id>``), before it sleeps (``begin``) and after (``end``), so that a
trial can count what ran and how often. A step may be made to kill its process, or to wait while a file
exists.
"""

from __future__ import annotations

import asyncio
import operator
import os
import time
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Send

from holdfast.graphs.registry import register

EXIT_CODE = 70
"""With what a step that is to die ends its process."""
HOLD_LOOK = 0.01
"""Seconds between two looks at the file that holds a sibling."""


class Trial(TypedDict, total=False):
    """What to do. Steps and siblings are counted from 0."""

    steps: Required[int]
    """How many super-steps."""
    seconds: float
    """How long each sibling of each step sleeps."""
    log: str | None
    """File to which each execution appends its lines; its folder must exist."""
    width: int
    """Parallel siblings of each step, 1 if not given."""
    die_at: int | None
    """The step whose sibling 0 ends its process with ``os._exit``."""
    die_times: int | None
    """How many executions of that step die; None: every one. Counted in ``log``, so it needs one."""
    hold: str | None
    """While the file ``<hold>.<step>`` exists, the last sibling of that step does not end."""


class State(Trial, total=False):
    """The trial and how far it has come."""

    step: int
    done: Annotated[list[str], operator.add]
    """``<step>.<sibling>`` of everything that finished: doubled or missing entries show here."""


class Sibling(TypedDict):
    """What one sibling of one step is given."""

    trial: Trial
    step: int
    index: int


def _write(log: str | None, what: str, step: int, index: int) -> None:
    if log is None:
        return
    line = f"{what} {step} {index} {os.getpid()}\n".encode()
    # One write with O_APPEND: lines of several processes do not mix, and a kill loses none.
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def _begin(trial: Trial, step: int, index: int) -> None:
    log = trial.get("log")
    _write(log, "begin", step, index)
    if trial.get("die_at") != step or index != 0:
        return
    times = trial.get("die_times")
    if times is not None and _begun(log, step) > times:
        return
    os._exit(EXIT_CODE)


def _begun(log: str | None, step: int) -> int:
    if log is None:
        return 1
    lines = Path(log).read_text(encoding="utf-8").splitlines()
    return sum(line.split()[:3] == ["begin", str(step), "0"] for line in lines)


def _held(trial: Trial, step: int, index: int) -> bool:
    hold = trial.get("hold")
    return hold is not None and index == trial.get("width", 1) - 1 and Path(f"{hold}.{step}").exists()


def _end(trial: Trial, step: int, index: int) -> str:
    _write(trial.get("log"), "end", step, index)
    return f"{step}.{index}"


def read_log(log: str | Path) -> list[tuple[str, int, int, int]]:
    """The lines of a log as (``begin`` or ``end``, step, sibling, process id)."""
    lines = [line.split() for line in Path(log).read_text(encoding="utf-8").splitlines()]
    return [(what, int(step), int(index), int(pid)) for what, step, index, pid in lines]


def plan(state: State) -> dict[str, Any]:
    """Count the step that begins."""
    return {"step": state.get("step", -1) + 1}


def fan_out(state: State) -> list[Send] | str:
    """The siblings of this step, or the end."""
    step = state["step"]
    if step >= state["steps"]:
        return END
    keys = ("steps", "seconds", "log", "width", "die_at", "die_times", "hold")
    trial = {key: state[key] for key in keys if key in state}  # type: ignore[literal-required]  # Trial's own keys
    return [Send("work", {"trial": trial, "step": step, "index": i}) for i in range(state.get("width", 1))]


def _execute(trial: Trial, step: int, index: int) -> str:
    _begin(trial, step, index)
    time.sleep(trial.get("seconds", 0.0))  # the work
    while _held(trial, step, index):
        time.sleep(HOLD_LOOK)  # another process removes the file, no event tells of it
    return _end(trial, step, index)


def work(sibling: Sibling) -> dict[str, Any]:
    """One sibling: say so, sleep, say so."""
    return {"done": [_execute(sibling["trial"], sibling["step"], sibling["index"])]}


async def awork(sibling: Sibling) -> dict[str, Any]:
    """The same on an event loop."""
    trial, step, index = sibling["trial"], sibling["step"], sibling["index"]
    _begin(trial, step, index)
    await asyncio.sleep(trial.get("seconds", 0.0))  # the work
    while _held(trial, step, index):  # noqa: ASYNC110 - another process removes the file, no event tells of it
        await asyncio.sleep(HOLD_LOOK)  # as in _execute
    return {"done": [_end(trial, step, index)]}


def _loop(node: Any) -> StateGraph[State, None, Trial, State]:
    graph = StateGraph(State, input_schema=Trial)
    graph.add_node("plan", plan)
    graph.add_node("work", node)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", fan_out, ["work", END])
    graph.add_edge("work", "plan")
    return graph


@register("long_steps")
def long_steps() -> StateGraph[State, None, Trial, State]:
    """Super-steps of sync nodes."""
    return _loop(work)


@register("long_steps_async")
def long_steps_async() -> StateGraph[State, None, Trial, State]:
    """Super-steps of async nodes; it runs under ``ainvoke`` only."""
    return _loop(awork)


@task
def work_task(trial: Trial, step: int, index: int) -> str:
    """One sibling as a task."""
    return _execute(trial, step, index)


@entrypoint()
def steps_of_tasks(trial: Trial) -> list[str]:
    """``width`` tasks a step, one step after the other."""
    done: list[str] = []
    for step in range(trial["steps"]):
        futures = [work_task(trial, step, index) for index in range(trial.get("width", 1))]
        done.extend(future.result() for future in futures)
    return done


@register("long_steps_tasks")
def long_steps_tasks() -> Pregel[Any, Any, Any, Any]:
    """One entrypoint with many tasks."""
    return steps_of_tasks
