"""Hands a draining run over between two ``@task`` calls, not only between two super-steps (R13, P7).

An ``@entrypoint``, or a node that calls tasks, is one super-step however long it goes on: without this it
would outlast every deploy. Once a drain is asked for, no further task begins: the call raises LangGraph's
own GraphDrained, as a subgraph that reaches a step boundary does. Tasks that are under way come to their
end and are stored. Code that catches the exception cannot make a result of it: the caller's writes and any
further checkpoint of the attempt are refused, and the next attempt does the call.
"""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl

from holdfast.persistence.fence import Fence


class TaskBoundary(BaseCallbackHandler):
    """Called by LangChain in the thread of the task that is about to begin."""

    run_inline = True
    raise_error = True

    def __init__(self, control: RunControl, fence: Fence) -> None:
        self._control = control
        self._fence = fence

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Raise GraphDrained in place of a task's beginning, if a drain was asked for."""
        if not self._control.drain_requested or metadata is None:
            return
        path = metadata.get("langgraph_path") or ()
        if kwargs.get("name") != metadata.get("langgraph_node") or not path or path[-1] is not True:
            return  # not a call: LangGraph marks those by the last element of their path
        callers = metadata["langgraph_checkpoint_ns"].split("|")[:-1]
        self._fence.abandon(caller.rpartition(":")[2] for caller in callers)
        raise GraphDrained(self._control.drain_reason or "shutdown")
