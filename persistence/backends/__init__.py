"""Where checkpoints, the store and the cache of runs are kept, when not in Django's own database.

One address names a backend: ``django``, ``postgresql://…``, ``sqlite:///file``, ``memory://``, ``redis://…``,
``mongodb://…`` or ``module:factory``. The upstream packages do the work. What is added here: each is opened once
a process, after the fork, and closed at its end; each write of a run asks first whether the lease is still its own
(P2); the errors say what is missing. They check, then write: docs/backends.md has what each promises.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from holdfast.persistence.backends.address import DJANGO, checked, known, shown

if TYPE_CHECKING:  # LangGraph takes seconds to import
    from holdfast.persistence.backends.cache import GuardedCache, open_cache
    from holdfast.persistence.backends.opening import close_backends
    from holdfast.persistence.backends.saver import GuardedSaver, open_saver
    from holdfast.persistence.backends.store import GuardedStore, open_store

__all__ = [
    "DJANGO",
    "GuardedCache",
    "GuardedSaver",
    "GuardedStore",
    "checked",
    "close_backends",
    "known",
    "open_cache",
    "open_saver",
    "open_store",
    "shown",
]

_HOMES = {
    "GuardedCache": "cache",
    "GuardedSaver": "saver",
    "GuardedStore": "store",
    "close_backends": "opening",
    "open_cache": "cache",
    "open_saver": "saver",
    "open_store": "store",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'holdfast.persistence.backends' has no attribute {name!r}")
    return getattr(import_module(f"holdfast.persistence.backends.{_HOMES[name]}"), name)
