"""The graphs that are timed, built alike for Holdfast and for the bare Celery task it is compared with."""

from __future__ import annotations

import operator
import os
import time
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    """A text, and a note a step: small, so that what is timed is the machinery."""

    text: Required[str]
    count: int
    notes: Annotated[list[str], operator.add]
    load: list[str]


def step(state: State) -> dict[str, Any]:
    """One step of a chain."""
    count = state.get("count", 0)
    return {"count": count + 1, "notes": [f"{count}: {state['text']}"]}


def chain(length: int, size: int = 0) -> StateGraph[State]:
    """``length`` nodes, one after the other, that each leave a text of ``size`` bytes in the place of the last."""

    def heavy(state: State) -> dict[str, Any]:
        return {**step(state), "load": [os.urandom(size // 2).hex()]}

    graph = StateGraph(State)
    names = [f"step_{number}" for number in range(length)]
    for name in names:
        graph.add_node(name, heavy if size else step)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph


class Chat(TypedDict):
    """All that has been said."""

    said: Annotated[list[str], operator.add]


def chat() -> StateGraph[Chat]:
    """One node, which answers with as much as it was told."""
    graph = StateGraph(Chat)
    graph.add_node("answer", lambda chat: {"said": [chat["said"][-1][::-1]]})
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    return graph


class Walk(TypedDict, total=False):
    """Steps that take their time and leave a trace."""

    steps: Required[int]
    seconds: Required[float]
    log: Required[str]
    """A file that gets ``<step> <process id> <time>`` when a step begins."""
    step: int


def pace(walk: Walk) -> dict[str, Any]:
    """Leave the trace, then sleep."""
    number = walk.get("step", 0)
    leave_line(walk["log"], f"{number} {os.getpid()} {time.time():.6f}")
    time.sleep(walk["seconds"])  # the work
    return {"step": number + 1}


def more(walk: Walk) -> str:
    """On to the next step, or the end."""
    return "pace" if walk["step"] < walk["steps"] else END


def walk() -> StateGraph[Walk]:
    """One node in a loop."""
    graph = StateGraph(Walk)
    graph.add_node("pace", pace)
    graph.add_edge(START, "pace")
    graph.add_conditional_edges("pace", more, ["pace", END])
    return graph


def leave_line(path: str, line: str) -> None:
    """Append a line in one write, so that the lines of several processes do not mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def read_lines(path: str | Path) -> list[list[str]]:
    """The words of each line that has been written to its end; none if there is no file."""
    text = Path(path).read_text("utf-8") if Path(path).exists() else ""
    return [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]
