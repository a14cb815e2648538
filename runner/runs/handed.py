"""What LangGraph hands to the executors of a run: told apart by what is to be called, and with what."""

from __future__ import annotations

from typing import Any, Final

from langgraph.types import PregelExecutableTask

from holdfast.persistence import DjangoSaver
from holdfast.persistence.backends import GuardedSaver

Ours = DjangoSaver | GuardedSaver
"""Savers that take a task's writes without a thread or task for it."""

PUT: Final = "_checkpointer_put_after_previous"
"""LangGraph's own method of its loops that stores a checkpoint."""


def task_among(args: tuple[Any, ...]) -> int | None:
    """Where among the arguments a node's or call's task stands; None: it is neither."""
    return next((at for at, arg in enumerate(args) if isinstance(arg, PregelExecutableTask)), None)
