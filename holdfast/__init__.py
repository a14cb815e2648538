"""Holdfast runs LangGraph graphs as Celery jobs that outlive whatever runs them.

The names below are the public API. They load on first use, so that ``import holdfast`` works
before Django is ready.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.errors import HoldfastError
    from holdfast.graphs.registry import register
    from holdfast.persistence.models import RunStatus
    from holdfast.persistence.records import Run
    from holdfast.runner.api import (
        acancel,
        aenqueue,
        aenqueue_many,
        afork,
        aget,
        ahistory,
        aresume,
        aretry,
        aruns,
        astate,
        asteps,
        aupdate_state,
        await_,
        cancel,
        enqueue,
        enqueue_many,
        fork,
        get,
        history,
        resume,
        retry,
        runs,
        state,
        steps,
        update_state,
        wait,
    )
    from holdfast.runner.effects import current_effect, task

__version__ = "0.1.0"

_HOMES = {
    "HoldfastError": "holdfast.errors",
    "register": "holdfast.graphs.registry",
    "Run": "holdfast.persistence.records",
    "RunStatus": "holdfast.persistence.models",
    "task": "holdfast.runner.effects",
    "current_effect": "holdfast.runner.effects",
}

__all__ = [
    "HoldfastError",
    "Run",
    "RunStatus",
    "acancel",
    "aenqueue",
    "aenqueue_many",
    "afork",
    "aget",
    "ahistory",
    "aresume",
    "aretry",
    "aruns",
    "astate",
    "asteps",
    "aupdate_state",
    "await_",
    "cancel",
    "current_effect",
    "enqueue",
    "enqueue_many",
    "fork",
    "get",
    "history",
    "register",
    "resume",
    "retry",
    "runs",
    "state",
    "steps",
    "task",
    "update_state",
    "wait",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "holdfast.runner.api")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
