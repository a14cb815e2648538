"""LangGraph's checkpoint saver on the project's own database, fenced while a run executes.

``DjangoSaver`` for sync and ``AsyncDjangoSaver`` for async graphs: each answers both kinds of calls.
"""

from __future__ import annotations

from holdfast.persistence.saver.asynchronous import AsyncDjangoSaver, DjangoSaver

__all__ = ["AsyncDjangoSaver", "DjangoSaver"]
