"""Every row of Holdfast's and every SQL statement on it; imports no Celery.

``DjangoSaver``, ``AsyncDjangoSaver``, ``DjangoStore`` and ``DjangoCache`` need no arguments: they
use the database that ``HOLDFAST["DATABASE"]`` names, and load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.persistence.node_cache import DjangoCache
    from holdfast.persistence.saver import AsyncDjangoSaver, DjangoSaver
    from holdfast.persistence.store import DjangoStore

__all__ = ["AsyncDjangoSaver", "DjangoCache", "DjangoSaver", "DjangoStore"]

_HOMES = {
    "AsyncDjangoSaver": "saver",
    "DjangoSaver": "saver",
    "DjangoStore": "store",
    "DjangoCache": "node_cache",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'holdfast.persistence' has no attribute {name!r}")
    return getattr(import_module(f"holdfast.persistence.{_HOMES[name]}"), name)
