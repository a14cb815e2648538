"""Hands a draining run over between two ``@task`` calls, not only between two super-steps (R13, P7).

An ``@entrypoint``, or a node that calls tasks, is one super-step however long it goes on: without this it
would outlast every deploy. Once a drain is asked for, no further task begins: the call raises LangGraph's
own GraphDrained, as a subgraph that reaches a step boundary does. Tasks that are under way come to their
end and are stored. Code that catches the exception cannot make a result of it: the caller's writes and any
further checkpoint of the attempt are refused, and the next attempt does the call. The executors ask here.
"""

from __future__ import annotations

from typing import NoReturn

from langgraph.errors import GraphDrained
from langgraph.types import PregelExecutableTask

from holdfast.runner.runs.attempt import Attempt, current_attempt
from holdfast.runner.runs.process import OUTAGE, here


def is_call(task: PregelExecutableTask) -> bool:
    """Whether it is a call of a ``@task``: LangGraph marks those by the last element of their path."""
    return bool(task.path) and task.path[-1] is True


def is_held_up() -> bool:
    """Whether no call may begin now: the database is away, or nobody knows (no recent heartbeat)."""
    return current_attempt() is not None and here().is_late()


def wait() -> None:
    """Until the database answers again, or the process is told to go.

    LangGraph lets the caller of tasks run ahead of what is stored: without this, an outage of ten minutes would
    repeat ten minutes of calls.
    """
    if is_held_up():
        here().outlasts(OUTAGE)


def is_leaving(attempt: Attempt) -> bool:
    """Whether nothing further may begin in that attempt: a drain was asked for, or a result could not be kept."""
    return attempt.control.drain_requested or attempt.fence.broken or attempt.fence.lost


def check(call: PregelExecutableTask) -> None:
    """Raise GraphDrained in place of a call's beginning, if a drain was asked for, or a result could not be kept."""
    attempt = current_attempt()
    if attempt is not None and (attempt.control.drain_requested or attempt.fence.broken):
        leave(call)


def leave(task: PregelExecutableTask, *, reason: str = "shutdown") -> NoReturn:
    """Raise GraphDrained in place of a task's beginning; nothing that those who called it write is stored."""
    if (attempt := current_attempt()) is not None:
        callers = task.config["metadata"]["langgraph_checkpoint_ns"].split("|")[:-1]
        attempt.fence.abandon(caller.rpartition(":")[2] for caller in callers)
        reason = attempt.control.drain_reason or reason
    raise GraphDrained(reason)
