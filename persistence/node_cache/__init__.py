"""The node cache: values of cached nodes and tasks, shared by all workers, and who computes what at the moment (P5).

``DjangoCache`` is LangGraph's cache on our tables, for runs and for anybody else. ``flights`` is what a run
uses besides, so that of many who need one value at the same time one computes it.
"""

from __future__ import annotations

from holdfast.persistence.node_cache.cache import DjangoCache

__all__ = ["DjangoCache"]
