"""The attempt at a run that the calling code belongs to: who executes, under which fence.

``execute`` enters the scope around the graph; whatever a node calls finds it with
``current_attempt()``. It travels in a context variable, which LangGraph copies into the threads
and asyncio tasks of its nodes. Nothing here reads or writes a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from langgraph.runtime import RunControl

from holdfast.persistence.ids import RunId, ThreadId

if TYPE_CHECKING:
    from holdfast.persistence.fence import Fence


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One delivery of one run in this process, from its claim to its settling."""

    run_id: RunId
    thread_id: ThreadId
    delivery: int
    """1 for the first claim of the run, one more for each later one."""
    alias: str
    """The alias of the database that holds the run."""
    owner: str
    fence: Fence
    salt: str = field(default="", repr=False)
    """The run's secret for hashes of what is encrypted; empty if it has none."""
    control: RunControl = field(default_factory=RunControl)
    """By which the attempt is told to stop at its next boundary (R13)."""
    answers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The answers that this attempt sends, by interrupt id."""
    begun: set[str] = field(default_factory=set, repr=False)
    """Ids of the cached tasks that have begun; changed under ``beginning``."""
    beginning: Lock = field(default_factory=Lock, repr=False)


_current: ContextVar[Attempt | None] = ContextVar("holdfast_attempt", default=None)


def current_attempt() -> Attempt | None:
    """The attempt that this code runs in; None outside a run, e.g. under a plain graph.invoke()."""
    return _current.get()


@contextmanager
def attempt_scope(attempt: Attempt) -> Iterator[Attempt]:
    """Make ``attempt`` the current one for this context and the contexts copied from it."""
    reset = _current.set(attempt)
    try:
        yield attempt
    finally:
        _current.reset(reset)
