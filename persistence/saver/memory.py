"""What an attempt knows of its own thread without asking: while a run holds it, nobody else writes there (R4, P6).

A call of a subgraph looks first whether it has been begun before. Its namespace ends in the id of its task, which
LangGraph makes of the checkpoint that the task belongs to. If this attempt has made that checkpoint itself, nobody can
have written under that id before; and what the attempt has written since, it knows. Touches no database.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any


class Memory:
    """What one attempt's saver has stored, as namespaces and ids; shared by its copies. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, str] = {}
        self._begun: set[str] = set()

    def begin(self, namespace: str) -> None:
        """Something is about to be stored there."""
        with self._lock:
            self._begun.add(namespace)

    def stored(self, namespace: str, checkpoint_id: str) -> None:
        """That checkpoint is the newest of its namespace, and was made by this attempt."""
        with self._lock:
            self._newest[namespace] = checkpoint_id

    def is_empty(self, configurable: Mapping[str, Any]) -> bool:
        """Whether nothing can be stored in the namespace of that config, which names no checkpoint."""
        namespace = configurable.get("checkpoint_ns", "")
        parent, _, call = namespace.rpartition("|")
        if ":" not in call or configurable.get("checkpoint_id"):
            return False
        made_by = (configurable.get("checkpoint_map") or {}).get(parent)
        with self._lock:
            return (
                made_by is not None and self._newest.get(parent) == made_by and namespace not in self._begun
            )
