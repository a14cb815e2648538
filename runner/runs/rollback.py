"""Refuses a rollback of what is not in Django's database: other savers cannot delete what one run wrote (R14)."""

from __future__ import annotations

from contextlib import suppress

from holdfast.errors import InvalidInputError, UnknownGraphError
from holdfast.graphs import registry
from holdfast.persistence import backends, ledger
from holdfast.persistence.backends import DJANGO
from holdfast.persistence.ids import ThreadId


def refuse_elsewhere(graph: str, version: str | None, thread_id: ThreadId) -> None:
    """Raises InvalidInputError if the thread's checkpoints are elsewhere, or would be by a run of the graph."""
    where = ledger.backend_of(thread_id)
    with suppress(UnknownGraphError):  # of another deploy; what it wrote is known all the same
        address = backends.checked(registry.get(graph, version).checkpointer, "CHECKPOINTER")
        where = where or (None if address == DJANGO else backends.shown(address))
    if where is not None:
        raise InvalidInputError(
            f"Thread {thread_id!r} keeps its checkpoints in {where}, where those of one run cannot be deleted: "
            "cancel without rollback and go on from a fork, or keep the graph's checkpoints in django.",
            field="rollback",
        )
