"""A graph's checkpointer, store and cache: as it was registered, otherwise as the settings say.

Gives what is attached to a run's graph, under the run's fence, and the saver of whoever looks at a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.store.base import BaseStore

from holdfast.errors import ConfigurationError
from holdfast.graphs.spec import GraphSpec
from holdfast.persistence import DjangoCache, DjangoSaver, DjangoStore, backends, codec, ledger
from holdfast.persistence.backends import DJANGO, GuardedSaver
from holdfast.persistence.backends.usable import usable
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import ThreadId
from holdfast.runner.runs.process import Execution


def of_run(spec: GraphSpec, execution: Execution) -> dict[str, Any]:
    """What ``Pregel.copy`` attaches to the graph of a run. Raises ConfigurationError, OutageError."""
    refuse_moved(spec, execution.claim.run.thread_id, execution.claim.backend)
    graph, serde, fence = spec.compile(), codec.codec(spec.allowlist), execution.fence
    saver = elsewhere(spec, fence=fence)
    if saver is not None:
        saver.check_history(spec.history)
    parts: dict[str, Any] = {
        "checkpointer": saver or DjangoSaver(serde=serde, fence=fence, commit=spec.commit),
        "store": store_of(spec, fence),
    }
    if graph.cache is None:  # a graph's own store or cache may carry its own configuration
        address, on_hit = backends.checked(spec.cache, "CACHE"), execution.timeline.cache_hit
        parts["cache"] = (
            DjangoCache[Any](serde=serde, version=spec.cache_label, on_hit=on_hit)
            if address == DJANGO
            else backends.open_cache(address, allow=spec.allowlist, version=spec.cache_label, on_hit=on_hit)
        )
    elif spec.cache_version is not None and isinstance(graph.cache, DjangoCache):
        parts["cache"] = graph.cache.under(spec.cache_label)
    return parts


def refuse_unusable(spec: GraphSpec) -> None:
    """P11: an address of no known form, without its package or its factory is told before a run is accepted.

    A server that is down is no reason. Raises ConfigurationError.
    """
    graph = spec.compile()
    usable(spec.checkpointer, "CHECKPOINTER")
    if graph.store is None:
        usable(spec.store, "STORE")
    if graph.cache is None:
        usable(spec.cache, "CACHE")


def elsewhere(spec: GraphSpec, *, fence: Fence | None = None) -> GuardedSaver | None:
    """The saver of the graph's threads; None if they are in Django's database."""
    address = backends.checked(spec.checkpointer, "CHECKPOINTER")
    return None if address == DJANGO else backends.open_saver(address, fence=fence, allow=spec.allowlist)


def refuse_moved(spec: GraphSpec, thread_id: ThreadId, backend: str | None) -> None:
    """A run that began anew beside what its thread has elsewhere would lose that. Raises ConfigurationError."""
    address = backends.checked(spec.checkpointer, "CHECKPOINTER")
    set_to, is_in = backends.shown(address), backend or DJANGO
    if set_to == is_in or (backend is None and not ledger.has_checkpoints(thread_id)):
        return
    raise ConfigurationError(
        f"Thread {thread_id!r} has its checkpoints in {is_in}, but graph {spec.name!r} is set to keep them in "
        f"{set_to}. Move them: holdfast transfer --from {is_in} --to {set_to} --threads {thread_id}",
        setting="CHECKPOINTER",
    )


def guarded(parts: Mapping[str, Any]) -> GuardedSaver | None:
    """The saver among what is attached, if it is not Django's."""
    saver = parts["checkpointer"]
    return saver if isinstance(saver, GuardedSaver) else None


def store_of(spec: GraphSpec, fence: Fence) -> BaseStore:
    """The store of a run under that fence: the graph's own, if it has one. Raises ConfigurationError."""
    own = spec.compile().store
    if own is not None:
        return own.under(fence) if isinstance(own, DjangoStore) else own
    address = backends.checked(spec.store, "STORE")
    return DjangoStore(fence=fence) if address == DJANGO else backends.open_store(address, fence=fence)
