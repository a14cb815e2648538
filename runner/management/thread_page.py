"""A thread as people see it, and as JSON: its checkpoints, its state at one of them, and a branch of it.

Everything that a graph or a user wrote is shown as text, never as markup.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from langgraph.types import PregelTask, StateSnapshot
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from holdfast.graphs import registry
from holdfast.runner.management import display


def checkpoint_of(snapshot: StateSnapshot) -> str:
    """The checkpoint's id."""
    return str(snapshot.config["configurable"].get("checkpoint_id", ""))


def _parent_of(snapshot: StateSnapshot) -> str | None:
    return (snapshot.parent_config or {}).get("configurable", {}).get("checkpoint_id")


def _told(snapshot: StateSnapshot, name: str) -> str:
    """What the checkpoint's metadata say, which is whatever the thread's writer put there."""
    value = (snapshot.metadata or {}).get(name)
    return "" if value is None else str(value)


def _age(snapshot: StateSnapshot) -> str:
    return display.since(datetime.fromisoformat(snapshot.created_at)) if snapshot.created_at else ""


def _next(snapshot: StateSnapshot) -> str:
    """The tasks that follow the checkpoint, and how they went: asked, failed, or nothing to tell."""
    counted = Counter(task.name + _mark(task) for task in snapshot.tasks)
    return ", ".join(name if count == 1 else f"{name} ×{count}" for name, count in counted.items())


def _mark(task: PregelTask) -> str:
    if task.error is not None:
        return " (failed)"
    if task.interrupts:
        return " (asks)" if task.result is None else " (asked)"
    return ""


def snapshot_facts(snapshot: StateSnapshot, *, values: bool) -> dict[str, Any]:
    """For ``--json``; ``values`` only where they are asked for."""
    metadata = snapshot.metadata or {}
    return {
        "thread_id": snapshot.config["configurable"]["thread_id"],
        "checkpoint_id": checkpoint_of(snapshot) or None,
        "parent_checkpoint_id": _parent_of(snapshot),
        "step": metadata.get("step"),
        "source": metadata.get("source"),
        "created_at": snapshot.created_at,
        "run_id": metadata.get("run_id"),
        "next": list(snapshot.next),
        "tasks": [
            {
                "id": task.id,
                "name": task.name,
                "error": None if task.error is None else str(task.error),
                "interrupts": [{"id": asked.id, "value": asked.value} for asked in task.interrupts],
            }
            for task in snapshot.tasks
        ],
    } | ({"values": snapshot.values} if values else {})


class History:
    """Newest first: one line a checkpoint where the terminal is wide enough for it, otherwise one paragraph.

    The runs only where they tell something: a run's own thread has its id. With ``values`` always paragraphs.
    """

    def __init__(self, thread: str, snapshots: Sequence[StateSnapshot], *, values: bool) -> None:
        self._snapshots = snapshots
        self._values = values
        self._runs = any(_told(snapshot, "run_id") != thread for snapshot in snapshots)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table()
        if not self._values and display.fits(table, console, options):
            yield table
            return
        for snapshot in self._snapshots:
            yield self._paragraph(snapshot)
            if self._values:
                yield Padding(display.value(snapshot.values), (0, 0, 1, 2))

    def _table(self) -> Table:
        table = display.table("checkpoint", "step", "source", "age", "next", *(["run"] if self._runs else []))
        for snapshot in self._snapshots:
            table.add_row(
                Text(checkpoint_of(snapshot)),
                Text(_told(snapshot, "step")),
                Text(_told(snapshot, "source")),
                _age(snapshot),
                Text(_next(snapshot)),
                *([Text(_told(snapshot, "run_id"))] if self._runs else []),
            )
        return table

    def _paragraph(self, snapshot: StateSnapshot) -> Text:
        told = [f"step {_told(snapshot, 'step')} ({_told(snapshot, 'source')})", f"{_age(snapshot)} old"]
        told += [f"next {following}"] if (following := _next(snapshot)) else []
        told += [f"run {run}"] if self._runs and (run := _told(snapshot, "run_id")) else []
        return Text.assemble(checkpoint_of(snapshot), "\n", ("  " + ", ".join(told), "dim"), overflow="fold")


def history_hint(thread: str) -> Text:
    """What can be done with a checkpoint."""
    name = shlex.quote(thread)
    return Text(
        f"One of them: holdfast state {name} --checkpoint CHECKPOINT\nA branch:    holdfast fork {name} CHECKPOINT",
        style="dim",
    )


def state_view(thread: str, snapshot: StateSnapshot) -> Group:
    """A thread's state at one checkpoint."""
    head = Table.grid(padding=(0, 2))
    for name, told in (
        ("thread", thread),
        ("checkpoint", checkpoint_of(snapshot)),
        ("parent", _parent_of(snapshot) or ""),
        ("step", f"{_told(snapshot, 'step')} ({_told(snapshot, 'source')})"),
        ("age", _age(snapshot)),
        ("run", _told(snapshot, "run_id")),
        ("next", _next(snapshot) or "nothing: it has ended"),
    ):
        if told:
            head.add_row(Text(name, style="dim"), Text(told, overflow="fold"))
    parts: list[RenderableType] = [head]
    parts += [
        display.panel(
            display.value(asked.value), f"{task.name} {'asks' if task.result is None else 'asked'}", "yellow"
        )
        for task in snapshot.tasks
        for asked in task.interrupts
    ]
    parts.append(display.panel(display.value(snapshot.values), "values", "green"))
    return Group(*parts)


def fork_facts(thread: str, snapshot: StateSnapshot, graph: tuple[str, str]) -> dict[str, Any]:
    """For ``--json``: the new thread, and what it was branched off."""
    name, version = graph
    return {
        "thread_id": snapshot.config["configurable"]["thread_id"],
        "forked_from": {"thread_id": thread, "checkpoint_id": checkpoint_of(snapshot)},
        "graph": name,
        "version": version,
        "next": list(snapshot.next),
    }


def fork_view(thread: str, snapshot: StateSnapshot, graph: tuple[str, str]) -> Text:
    """The new thread, and the commands that go on from it."""
    made, (name, version) = snapshot.config["configurable"]["thread_id"], graph
    older = f" --version {shlex.quote(version)}" if registry.get(name).version != version else ""
    command = f"holdfast enqueue {shlex.quote(name)}"
    rest = f" --thread {shlex.quote(made)}{older}"
    told = Text.assemble(
        (made, "bold"), (f"  branched off {thread} at step {_told(snapshot, 'step')}", "dim")
    )
    if following := _next(snapshot):
        told.append(f"\nTo go on from there, with {following}: {command}{rest}", style="dim")
    told.append(f"\nTo begin anew over its state: {command} INPUT{rest}", style="dim")
    return told
