"""Threads for retention to look at: with checkpoints, with runs, and what is left of them."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from django.utils import timezone
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from holdfast.conf import Retention
from holdfast.persistence import DjangoSaver
from holdfast.persistence.connections import connect
from holdfast.persistence.ids import new_run_id
from holdfast.persistence.models import RunRow, Thread

NOTHING = Retention(max_age=None, keep_last=None, run_age=None, orphans=False, cache=False)
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
DAY = 86400.0


class State(TypedDict, total=False):
    items: Annotated[list[Any], operator.add]
    big: str


def keep(**fields: Any) -> Retention:
    return Retention(**{name: getattr(NOTHING, name) for name in Retention.__slots__} | fields)


def graph(*, subgraph: Any = None, ask: bool = False) -> Any:
    def step(state: State) -> State:
        if ask:
            interrupt("go on?")
        return {"items": [len(state["items"])]}

    built = StateGraph(State)
    built.add_node("step", step)
    built.add_edge(START, "step")
    if subgraph is not None:
        built.add_node("sub", subgraph)
        built.add_edge("step", "sub")
    return built.compile(checkpointer=DjangoSaver())


def config(thread_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread_id}}


def talk(compiled: Any, thread_id: str, turns: int) -> dict[str, Any]:
    for _ in range(turns):
        compiled.invoke({"items": [], "big": "unchanged"}, config(thread_id))
    return dict(compiled.get_state(config(thread_id)).values)


def counts() -> dict[str, int]:
    with connect("default") as eye:
        return {t: eye.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in TABLES}


def run_row(thread_id: str, status: str, **fields: Any) -> RunRow:
    now = timezone.now()
    Thread.objects.get_or_create(id=thread_id, defaults={"created_at": now})
    finished = now if status in {"succeeded", "failed", "cancelled"} else None
    defaults = {
        "id": new_run_id(),
        "thread_id": thread_id,
        "graph": "g",
        "version": "1",
        "status": status,
        "input_type": "null",
        "request_hash": "",
        "not_before": now,
        "created_at": now,
        "finished_at": finished,
    }
    return RunRow.objects.create(**defaults | fields)
