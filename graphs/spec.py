"""One registered graph: what it is called, how it is built, and what may be asked of it.

A spec is frozen and holds no connection. It compiles its graph once a process and attaches no
saver: that is the runner's part, with ``Pregel.copy``. Errors name the graph and its place.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from langgraph.cache.memory import InMemoryCache
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.store.memory import InMemoryStore

from holdfast.errors import GraphDefinitionError
from holdfast.graphs import anatomy, inputs

logger = logging.getLogger("holdfast.graphs")

AnyGraph = StateGraph[Any, Any, Any, Any] | Pregel[Any, Any, Any, Any]
Builder = Callable[[], AnyGraph]


class _Once:
    """What is worked out once a process, under a lock: the only mutable thing behind a spec."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.known: dict[str, Any] = {}

    def get(self, name: str, work: Callable[[], Any]) -> Any:
        if name not in self.known:
            with self.lock:
                if name not in self.known:
                    self.known[name] = work()
        return self.known[name]


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """A graph as it was registered. Equal specs have the same name, version, builder and options."""

    name: str
    version: str
    builder: Builder
    max_crashes: int | None = None
    """Deaths without progress after which a run of it fails; None: the setting MAX_CRASHES."""
    history: int | None = None
    """How many root checkpoints of a run of it stay once it has ended; None: all."""
    commit: Literal["durable", "relaxed"] | None = None
    """"relaxed": the checkpoints of its runs need not wait for the disk; None: the setting COMMIT."""
    asynchronous: bool | None = None
    """Forces ``is_async`` where it cannot be seen; None: find out."""
    checkpointer: str | None = None
    """The address of its runs' checkpoints; None: the setting CHECKPOINTER."""
    store: str | None = None
    """The address of its runs' store; None: the setting STORE."""
    cache: str | None = None
    """The address of its runs' node cache; None: the setting CACHE."""
    cache_version: str | None = None
    """With which its nodes' cached values are labelled, beside the graph's name; None: with the name alone."""
    module: str
    """The module in which it was registered."""
    place: str
    """The same with function, file and line, for messages."""
    _once: _Once = field(default_factory=_Once, init=False, repr=False, compare=False)

    def compile(self) -> Pregel[Any, Any, Any, Any]:
        """The compiled graph, the same object at every call, without a saver.

        A saver, an InMemoryStore or an InMemoryCache that the graph was compiled with is left off:
        runs have theirs from the runner. Any other store or cache stays, since it may carry its own
        configuration. Raises GraphDefinitionError, also for whatever the builder raises.
        """
        compiled: Pregel[Any, Any, Any, Any] = self._once.get("graph", self._compile)
        return compiled

    @property
    def cache_label(self) -> str:
        """What its cached values carry: ``orders``, or with a ``cache_version`` ``orders@2``.

        The name, since LangGraph's own keys do not tell all nodes apart: those of async functions, partials and
        callable objects have their node's name only, and closures that of the function that makes them (1.2.22).
        """
        return self.name if self.cache_version is None else f"{self.name}@{self.cache_version}"

    @property
    def allowlist(self) -> frozenset[tuple[str, str]]:
        """(module, name) of each type the graph declares, subgraphs' included, for ``with_allowlist``."""
        found: frozenset[tuple[str, str]] = self._once.get(
            "allowlist", lambda: anatomy.stored_types(self.compile())
        )
        return found

    @property
    def is_async(self) -> bool:
        """Whether it runs under ``ainvoke`` only: a node, branch or task has no sync form."""
        if self.asynchronous is not None:
            return self.asynchronous
        found: bool = self._once.get(
            "is_async", lambda: any(map(anatomy.only_async, anatomy.parts(self.compile())))
        )
        return found

    def check_input(self, value: Any, *, partial: bool = False) -> None:
        """Raise InvalidInputError (``field``: dotted path) if the graph's input schema refuses the value.

        ``partial`` says that the thread already has a state, so that no key is demanded. The value
        is neither changed nor converted; ``holdfast.graphs.inputs`` has the rules.
        """
        inputs.check(self.compile(), value, name=self.name, partial=partial)

    def _compile(self) -> Pregel[Any, Any, Any, Any]:
        try:
            built = self.builder()
            compiled = built.compile() if isinstance(built, StateGraph) else built
        except Exception as error:  # the builder is the user's code, and raises anything
            raise self._refused(f"its builder raised {type(error).__name__}: {error}") from error
        if not isinstance(compiled, Pregel):
            raise self._refused(
                f"its builder returned {type(compiled).__name__}, "
                "not a StateGraph, a compiled graph or an @entrypoint"
            )
        self._check(compiled)
        return self._bare(compiled)

    def _check(self, graph: Pregel[Any, Any, Any, Any]) -> None:
        for part in anatomy.parts(graph):
            if not isinstance(part.value, Pregel):
                continue
            for option in ("interrupt_before", "interrupt_after"):
                if getattr(part.value, f"{option}_nodes"):
                    where = f" in its subgraph {'.'.join(part.path)!r}" if part.path else ""
                    raise self._refused(
                        f"it is compiled with {option}{where}. Such a stop leaves no mark, and after a "
                        "crash the guarded node would run unapproved. Call interrupt() in the node instead"
                    )
        if graph.checkpointer is False:
            raise self._refused(
                "it is compiled with checkpointer=False, and without checkpoints nothing can be resumed. "
                "Leave the argument out; a run brings its own saver"
            )
        self._check_cache(graph.cache)

    def _check_cache(self, cache: Any) -> None:
        """A cache that the graph brings stays, and must do what ``cache_version`` says."""
        if self.cache_version is None or cache is None or isinstance(cache, InMemoryCache):
            return
        if (has := getattr(cache, "version", None)) != "":
            why = "which knows no versions" if has is None else f"which has version={has!r} already"
            raise self._refused(
                f"it is registered with cache_version={self.cache_version!r}, but compiled with a "
                f"{type(cache).__name__}, {why}. Leave one of the two out"
            )

    def _bare(self, graph: Pregel[Any, Any, Any, Any]) -> Pregel[Any, Any, Any, Any]:
        off: dict[str, Any] = {}
        if graph.checkpointer is not None:
            off["checkpointer"] = None
        if isinstance(graph.store, InMemoryStore):
            off["store"] = None
        if isinstance(graph.cache, InMemoryCache):
            off["cache"] = None
        if not off:
            return graph
        logger.info("graph %s %s: its own %s is left off", self.name, self.version, ", ".join(off))
        return graph.copy(off)

    def _refused(self, why: str) -> GraphDefinitionError:
        return GraphDefinitionError(
            f"The graph {self.name!r} (version {self.version!r}, {self.place}) cannot be used: {why}.",
            graph=self.name,
            version=self.version,
            place=self.place,
        )
