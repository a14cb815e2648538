"""Transfer with what the registered graphs know: the types that are stored, and where each keeps its checkpoints."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from holdfast.errors import GraphDefinitionError, UnknownGraphError
from holdfast.graphs import registry
from holdfast.persistence import backends, ledger
from holdfast.persistence import transfer as _transfer
from holdfast.persistence.ids import ThreadId


def transfer(source: str, target: str, **options: Any) -> _transfer.Report:
    """As ``holdfast.persistence.transfer.transfer``."""
    allow: set[tuple[str, str]] = set()
    for spec in registry.all():
        with suppress(GraphDefinitionError):  # it has no runs, and `check --deploy` tells of it
            allow |= spec.allowlist
    return _transfer.transfer(source, target, allow=allow, home_of=_home_of, **options)


def _home_of(thread_id: ThreadId) -> str:
    named = None
    if (found := ledger.graph_of(thread_id)) is not None:
        try:
            named = registry.get(*found).checkpointer
        except UnknownGraphError:  # of another deploy: as the settings say
            named = None
    return backends.checked(named, "CHECKPOINTER")
