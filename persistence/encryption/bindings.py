"""What values are bound to: one function for whoever writes and whoever reads there.

What names a row is part of it, except the thread's id: ``copy_thread`` and ``fork`` copy rows to another
thread as they are, with all other ids unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.persistence.encryption import Binding


def checkpoint(checkpoint_ns: str, checkpoint_id: str) -> Binding:
    """What is sealed of a checkpoint's own row: its metadata."""
    return ("checkpoints", checkpoint_ns, checkpoint_id)


def channel(checkpoint_ns: str, name: str, version: object) -> Binding:
    """A channel's value at one version, in checkpoint_blobs."""
    return ("checkpoint_blobs", checkpoint_ns, name, version)


def write(checkpoint_ns: str, checkpoint_id: str, task_id: str, name: str) -> Binding:
    """A task's write to a channel, in checkpoint_writes."""
    return ("checkpoint_writes", checkpoint_ns, checkpoint_id, task_id, name)


def run(column: str, run_id: object) -> Binding:
    """A column of a run's row."""
    return ("holdfast_run", column, run_id)


def question(run_id: object, question_id: str) -> Binding:
    """The value of one question in a run's row."""
    return ("holdfast_run", "questions", run_id, question_id)


def effect(column: str, key: str) -> Binding:
    """A column of an effect's row."""
    return ("holdfast_effect", column, key)


def cached(version: str, namespace: Sequence[str], key: str) -> Binding:
    """An entry of the node cache; its ``version`` says of which graph."""
    return ("holdfast_node_cache", version, *namespace, key)


def item(prefix: str, key: str) -> Binding:
    """The value of an item of the long-term store; ``prefix`` as the table has it."""
    return ("store", prefix, key)
