"""Holdfast in Django's admin: runs, threads, effects, cache entries, checkpoints and
the store.

Everything is read-only except what goes through the public API (retry, cancel, answer) and the
deletion of cache entries. What a run stored is untrusted: it is decoded by the strict codec and
shown as escaped text, never as markup.
"""

from __future__ import annotations

from holdfast.runner.admin import checkpoints, effects, node_cache, runs, store, threads

__all__ = ["checkpoints", "effects", "node_cache", "runs", "store", "threads"]
