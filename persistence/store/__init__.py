"""LangGraph's long-term memory in the project's own database, on upstream's tables."""

from __future__ import annotations

from holdfast.persistence.store.store import DjangoStore

__all__ = ["DjangoStore"]
