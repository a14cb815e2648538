"""Times what a run asks of its own newest checkpoints: a subgraph with a memory, and a node that looks at the state."""

from __future__ import annotations

import time
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.graph import END, START, StateGraph

from bench.drivers import savers
from bench.project import chains
from holdfast.persistence import DjangoSaver, codec
from holdfast.persistence.fence import Fence

CALLS = 10


class _Timed(DjangoSaver):
    """Notes how long each reading of the newest checkpoint of a namespace took."""

    def __init__(self, fence: Fence) -> None:
        super().__init__(serde=codec.codec(), fence=fence)
        self.seconds: list[float] = []

    def get_tuple(self, config: Any) -> CheckpointTuple | None:
        began = time.perf_counter()
        found = super().get_tuple(config)
        if found is not None and not config["configurable"].get("checkpoint_id"):
            self.seconds.append(time.perf_counter() - began)
        return found


def reads(rounds: int) -> dict[str, list[dict[str, float]]]:
    """Seconds a call, and of those the seconds that reading took; in a run whose saver is fenced."""
    found: dict[str, list[dict[str, float]]] = {"subgraph": [], "state": []}
    for number in range(rounds + savers.WARM):
        for name in sorted(found, reverse=bool(number % 2)):
            took = _round(name)
            if number >= savers.WARM:
                found[name].append(took)
    return found


def _round(name: str) -> dict[str, float]:
    claim = savers.claimed()
    run = claim.run
    fence = Fence(run.id, claim.token, run.thread_id, era=claim.era)
    saver = _Timed(fence)
    config: Any = {"configurable": {"thread_id": run.thread_id}}
    graph = _loop(_remembering() if name == "subgraph" else _looking(saver, config))
    attached = graph.compile().copy({"checkpointer": saver})
    began = time.perf_counter()
    with savers.as_in_a_run(claim, fence):
        attached.invoke({"text": "step"}, config, durability="sync")
    whole = (time.perf_counter() - began) / CALLS
    if len(saver.seconds) < CALLS - 1:  # before its first call a subgraph has nothing
        raise RuntimeError(f"{len(saver.seconds)} checkpoints were read in {CALLS} calls")
    return {"call": whole, "reading": sum(saver.seconds) / CALLS}


def _loop(node: Any) -> StateGraph[chains.State]:
    """The node, again and again."""
    graph = StateGraph(chains.State)
    graph.add_node("again", node)
    graph.add_edge(START, "again")
    graph.add_conditional_edges("again", lambda state: "again" if state["count"] < CALLS else END)
    return graph


def _remembering() -> Any:
    """A subgraph of one node that goes on from what its last call left."""
    inner = StateGraph(chains.State)
    inner.add_node("step", chains.step)
    inner.add_edge(START, "step")
    return inner.compile(checkpointer=True)


def _looking(saver: DjangoSaver, config: Any) -> Any:
    """A node that looks at the state of its own run."""

    def look(state: chains.State) -> dict[str, Any]:
        assert saver.get_tuple(config) is not None
        return chains.step(state)

    return look
