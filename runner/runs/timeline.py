"""What a run did, line by line: which node, which step, when, how it ended, cached or not.

A callback handler that LangChain calls in the node's own thread. Lines wait in memory; the heartbeat and
settle write them under the fence, so that a process that dies loses at most the lines of the last beat,
and one that was taken over writes none. It never stops a run: it keeps no state that a graph reads.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langgraph.errors import GraphBubbleUp, GraphInterrupt

from holdfast.persistence.connections import (
    close_django_connections,
    drop_dead_django_connections,
)
from holdfast.persistence.records import StepRecord


class Timeline(BaseCallbackHandler):
    """Records each node and ``@task`` of one attempt, and keeps the node's Django connections usable.

    Before a node runs, the thread's Django connections that the database has dropped are closed, so that
    the node's queries open new ones (a restart of the server is no error of a node).
    """

    run_inline = True
    raise_error = False

    def __init__(self, *, run_id: UUID, delivery: int, owner: str) -> None:
        self._run_id = run_id
        self._delivery = delivery
        self._owner = owner
        self._lock = threading.Lock()
        self._open: dict[UUID, StepRecord] = {}
        self._lines: dict[str, StepRecord] = {}
        self._asking: dict[str, str] = {}
        self._step = -1
        self._home = threading.get_ident()

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A node or task begins, in this thread."""
        known = metadata or {}
        namespace = known.get("langgraph_checkpoint_ns")
        if not namespace or kwargs.get("name") != known["langgraph_node"]:
            return  # the graph itself, or something inside a node
        parent, _, last = namespace.rpartition("|")
        line = self._line(known["langgraph_step"], kwargs["name"], last.partition(":")[2], parent, "running")
        with self._lock:
            self._step = max(self._step, line.step)
            self._open[run_id] = line
            self._lines[line.task_id] = line
        # Last: what is raised here is only logged by LangChain, and must not lose the line.
        drop_dead_django_connections()

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """It finished."""
        self._finish(run_id, "done")

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It raised: an error, a question, or a hand-over."""
        if isinstance(error, GraphInterrupt):
            self._finish(run_id, "interrupted")
        else:
            self._finish(run_id, "running" if isinstance(error, GraphBubbleUp) else "failed")

    def cache_hit(self, namespace: Sequence[str], key: str) -> None:
        """The node cache answered instead of a node."""
        line = self._line(self._step + 1, namespace[-1], f"cache:{key}", "", "cached")
        with self._lock:
            self._lines[line.task_id] = line

    def _line(self, step: int, node: str, task_id: str, namespace: str, outcome: str) -> StepRecord:
        now = datetime.now(UTC)
        return StepRecord(
            run_id=self._run_id,
            delivery=self._delivery,
            step=step,
            node=node,
            task_id=task_id,
            namespace=namespace,
            owner=self._owner,
            started_at=now,
            finished_at=now if outcome == "cached" else None,
            outcome=outcome,
        )

    def _finish(self, run_id: UUID, outcome: str) -> None:
        with self._lock:
            if (line := self._open.pop(run_id, None)) is None:
                return
            values = {name: getattr(line, name) for name in StepRecord.__dataclass_fields__}
            values |= {"outcome": outcome}
            if outcome == "interrupted":
                self._asking[line.task_id] = line.node
            if outcome != "running":
                values |= {"finished_at": datetime.now(UTC)}
            self._lines[line.task_id] = StepRecord(**values)
        if threading.get_ident() != self._home:
            # Nobody else would close what a node opened in a thread of LangGraph's. Last, as above: an error
            # here must lose neither the line nor who asked.
            close_django_connections()

    def asking(self) -> dict[str, str]:
        """By task id, the names of the nodes and tasks that have stopped with a question in this attempt."""
        with self._lock:
            return dict(self._asking)

    def take(self) -> list[StepRecord]:
        """The lines that have not been written yet; they are the caller's now."""
        with self._lock:
            lines, self._lines = list(self._lines.values()), {}
            return lines

    def put_back(self, lines: Sequence[StepRecord]) -> None:
        """Lines that could not be written: they wait for the next beat, behind what is newer."""
        with self._lock:
            self._lines = {line.task_id: line for line in lines} | self._lines
