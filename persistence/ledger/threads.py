"""Threads as a whole: who holds one, which graph it belongs to, its copy (R4, R5)."""

from __future__ import annotations

from holdfast.persistence.ids import RunId, ThreadId
from holdfast.persistence.ledger.rows import as_run, first
from holdfast.persistence.ledger.statements import execute
from holdfast.persistence.records import Run


def lock_thread(thread_id: ThreadId) -> bool:
    """Hold the thread alone until the caller's transaction ends; False if there is none of that name."""
    return bool(execute("thread_lock", {"thread_id": thread_id}))


def graph_of(thread_id: ThreadId) -> tuple[str, str] | None:
    """Name and version of the graph that the thread belongs to."""
    row = first(execute("thread_graph", {"thread_id": thread_id}))
    return (row["graph"], row["version"]) if row else None


def has_state(thread_id: ThreadId) -> bool:
    """Whether the thread has a checkpoint, or a run that may make one before the next."""
    return bool(execute("thread_has_state", {"thread_id": thread_id})[0]["has_state"])


def has_checkpoints(thread_id: ThreadId) -> bool:
    """Whether checkpoints of the thread are in this database."""
    return bool(execute("thread_has_checkpoints", {"thread_id": thread_id})[0]["has_checkpoints"])


def holder(thread_id: ThreadId) -> Run | None:
    """The run that holds the thread (R4)."""
    row = first(execute("thread_holder", {"thread_id": thread_id}))
    return as_run(row) if row else None


def backend_of(thread_id: ThreadId) -> str | None:
    """Where the thread's checkpoints are, as it may be shown; None: in this database."""
    row = first(execute("backend_of_thread", {"thread_id": thread_id}))
    return row["backend"] if row else None


def note_backend(thread_id: ThreadId, backend: str | None) -> None:
    """Note that the thread's checkpoints have moved there; None: to this database."""
    execute("backend_moved", {"thread_id": thread_id, "backend": backend})


def threads_with_checkpoints() -> list[str]:
    """The threads that have checkpoints in this database."""
    return [row["thread_id"] for row in execute("backend_threads_here")]


def new_thread_elsewhere(thread_id: ThreadId, backend: str) -> bool:
    """Make a thread whose checkpoints are elsewhere; False if one of that name exists."""
    return bool(execute("backend_new_thread", {"thread_id": thread_id, "backend": backend}))


def has_effect_since(run_id: RunId, moment: str) -> bool:
    """Whether the run has begun an effect after that moment (ISO 8601)."""
    return bool(execute("backend_effect_since", {"run_id": run_id, "moment": moment})[0]["found"])


def update_obstacle(thread_id: ThreadId, run_id: RunId) -> str | None:
    """What a state update through an interrupted run would make happen again (R5); None: nothing."""
    row = first(execute("thread_update_obstacle", {"thread_id": thread_id, "run_id": run_id}))
    return str(row["what"]) if row else None


def fork_thread(thread_id: ThreadId, checkpoint_id: str, target: ThreadId) -> tuple[bool, bool]:
    """Copy a checkpoint and its past to a new thread: whether the thread was new, and the checkpoint there."""
    parameters = {"thread_id": thread_id, "checkpoint_id": checkpoint_id, "target": target}
    row = execute("thread_fork", parameters)[0]
    return bool(row["made"]), bool(row["copied"])
