"""Hands a draining run over between two ``@task`` calls, not only between two super-steps (R13, P7).

An ``@entrypoint``, or a node that calls tasks, is one super-step however long it goes on: without this it
would outlast every deploy. Once a drain is asked for, no further task begins: the call raises LangGraph's
own GraphDrained, as a subgraph that reaches a step boundary does. Tasks that are under way come to their
end and are stored. Code that catches the exception cannot make a result of it: the caller's writes and any
further checkpoint of the attempt are refused, and the next attempt does the call. The executors ask here.
"""

from __future__ import annotations

from langgraph.errors import GraphDrained
from langgraph.types import PregelExecutableTask

from holdfast.runner.runs.attempt import current_attempt


def is_call(task: PregelExecutableTask) -> bool:
    """Whether it is a call of a ``@task``: LangGraph marks those by the last element of their path."""
    return bool(task.path) and task.path[-1] is True


def check(call: PregelExecutableTask) -> None:
    """Raise GraphDrained in place of a call's beginning, if a drain was asked for."""
    attempt = current_attempt()
    if attempt is None or not attempt.control.drain_requested:
        return
    callers = call.config["metadata"]["langgraph_checkpoint_ns"].split("|")[:-1]
    attempt.fence.abandon(caller.rpartition(":")[2] for caller in callers)
    raise GraphDrained(attempt.control.drain_reason or "shutdown")
