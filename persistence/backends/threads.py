"""What the runner asks about a thread's checkpoints, answered by any saver; Django's answers in one statement each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import WRITES_IDX_MAP, BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME

from holdfast.persistence import ledger
from holdfast.persistence.backends.saver import GuardedSaver
from holdfast.persistence.ids import RunId, ThreadId

_PAGE = 16  # checkpoints


class Held(NamedTuple):
    """One task's question on the newest checkpoint of a namespace."""

    namespace: str
    checkpoint_id: str
    task_id: str
    interrupts: list[Any]
    answered: int
    """How many answers the task has had."""


def config_of(thread_id: str, namespace: str = "", checkpoint_id: str | None = None) -> RunnableConfig:
    """The config of a namespace's newest checkpoint, or of one of them."""
    newest = {"thread_id": thread_id, "checkpoint_ns": namespace}
    return {"configurable": newest if checkpoint_id is None else {**newest, "checkpoint_id": checkpoint_id}}


def questions_held(saver: GuardedSaver, thread_id: str) -> list[Held]:
    """The questions on the newest checkpoint of each namespace, deepest first, as the ledger gives them."""
    held = []
    for found in newest(saver, thread_id):
        namespace = found.config["configurable"]["checkpoint_ns"]
        for task_id, channel, asked in found.pending_writes or ():
            if channel == INTERRUPT:
                answered = max(_answers(found, each.id) for each in asked) if asked else 0
                held.append(Held(namespace, found.checkpoint["id"], task_id, list(asked), answered))
    return sorted(held, key=lambda each: _depth(each.namespace), reverse=True)


def answer_state(saver: GuardedSaver, thread_id: str, namespace: str, interrupt_id: str) -> tuple[str, int]:
    """The namespace's newest checkpoint, "" without one, and the answers that whoever asks there has had."""
    found = saver.get_tuple(config_of(thread_id, namespace))
    return (found.checkpoint["id"], _answers(found, interrupt_id)) if found is not None else ("", 0)


def newest(saver: GuardedSaver, thread_id: str) -> list[CheckpointTuple]:
    """The newest checkpoint of each namespace, of those that are younger than the root's newest, and that itself.

    What asks, asks in a step that began with the root's newest checkpoint.
    """
    root = saver.get_tuple(config_of(thread_id))
    if root is None:
        return []
    found = {"": root}
    for each in _younger(saver, thread_id, root.checkpoint["id"]):
        namespace = each.config["configurable"]["checkpoint_ns"]
        if namespace not in found or found[namespace].checkpoint["id"] < each.checkpoint["id"]:
            found[namespace] = each
    return list(found.values())


def obstacle(saver: GuardedSaver, thread_id: ThreadId, run_id: RunId) -> str | None:
    """What a state update would make happen again: finished tasks of the newest checkpoint, or effects (R5).

    An effect does not tell its checkpoint where that is elsewhere: the times are compared, a worker's with the
    database's.
    """
    root = saver.get_tuple(config_of(thread_id))
    if root is None:
        return None
    if any(channel not in {INTERRUPT, RESUME, ERROR} for _, channel, _ in root.pending_writes or ()):
        return "finished tasks"
    return "effects" if ledger.has_effect_since(run_id, root.checkpoint["ts"]) else None


def fork(
    saver: GuardedSaver,
    source: str,
    checkpoint_id: str,
    target: ThreadId,
    make_thread: Callable[[ThreadId, str], bool],
) -> tuple[bool, bool]:
    """Copy a checkpoint and its past to a new thread: whether the thread was new, and the checkpoint there."""
    past = []
    config: RunnableConfig | None = config_of(source, "", checkpoint_id)
    while config is not None and (found := saver.get_tuple(config)) is not None:
        past.append(found)
        config = found.parent_config
    if not past:
        return True, False
    if saver.get_tuple(config_of(target)) is not None or not make_thread(target, saver.where):
        return False, True
    followed = any(
        (each.parent_config or {}).get("configurable", {}).get("checkpoint_id") == checkpoint_id
        for each in saver.list(config_of(source))
    )
    for found in reversed(past):
        # Outcomes that others have built on belong to what followed; the branch makes its own.
        copy(found, saver, target, writes=found is not past[0] or not followed)
    return True, True


def copy(
    found: CheckpointTuple, saver: BaseCheckpointSaver[Any], thread_id: str, *, writes: bool = True
) -> None:
    """Store a checkpoint as it is, under another thread or in another backend, with its parent and pending writes."""
    parent = (found.parent_config or {}).get("configurable", {}).get("checkpoint_id")
    namespace = found.config["configurable"].get("checkpoint_ns", "")
    checkpoint = found.checkpoint
    stored = saver.put(
        config_of(thread_id, namespace, parent),
        checkpoint,
        found.metadata,
        dict(checkpoint["channel_versions"]),
    )
    if not writes:
        return
    by_task: dict[str, list[tuple[str, Any]]] = {}
    for task_id, channel, value in found.pending_writes or ():
        by_task.setdefault(task_id, []).append((channel, value))
    for task_id, written in by_task.items():
        # Together they would be stored as one sort; each sort has its own way of being repeated.
        for special in (False, True):
            if some := [each for each in written if (each[0] in WRITES_IDX_MAP) is special]:
                saver.put_writes(stored, some, task_id)


def all_of(saver: BaseCheckpointSaver[Any], thread_id: str) -> Iterator[CheckpointTuple]:
    """The thread's checkpoints in all namespaces, by pages where the backend gives them newest first."""
    whole: RunnableConfig = {"configurable": {"thread_id": thread_id}}
    if not isinstance(saver, GuardedSaver) or not saver.ordered:
        yield from saver.list(whole)
        return
    before: RunnableConfig | None = None
    while page := list(saver.list(whole, before=before, limit=_PAGE)):
        yield from page
        before = page[-1].config


def _younger(saver: GuardedSaver, thread_id: str, checkpoint_id: str) -> Iterator[CheckpointTuple]:
    for each in all_of(saver, thread_id):
        if each.checkpoint["id"] > checkpoint_id:
            yield each
        elif saver.ordered:
            return


def _answers(found: CheckpointTuple, interrupt_id: str) -> int:
    """A ``@task`` that asks writes its question under itself and its caller; the answers stand under one of them."""
    writes = found.pending_writes or ()
    asking = {
        task_id
        for task_id, channel, asked in writes
        if channel == INTERRUPT and any(each.id == interrupt_id for each in asked)
    }
    given = [value for task_id, channel, value in writes if channel == RESUME and task_id in asking]
    return max((len(value) if isinstance(value, list) else 1 for value in given), default=0)


def _depth(namespace: str) -> int:
    return namespace.count("|") + bool(namespace)
