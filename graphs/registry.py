"""Which graphs there are: ``register`` and lookup.

Pure Python and LangGraph: it knows no Django; the runner tells it which apps are installed. A
module that is imported twice registers once; two builders never share a name and version.
"""

from __future__ import annotations

import difflib
import sys
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from holdfast.errors import GraphDefinitionError, UnknownGraphError
from holdfast.graphs.definition import (
    HISTORY,
    Caller,
    Commit,
    as_builder,
    check_addresses,
    check_options,
    module_of,
    place_of,
)
from holdfast.graphs.discovery import Discovery

if TYPE_CHECKING:  # LangGraph takes seconds to import, and whoever has a graph to register has done so
    from langgraph.graph import StateGraph
    from langgraph.pregel import Pregel

    from holdfast.graphs.spec import GraphSpec

Registered = TypeVar("Registered", bound="Callable[[], Any] | StateGraph[Any, Any, Any, Any] | Pregel[Any]")


_specs: dict[str, dict[str, GraphSpec]] = {}
_table = threading.Lock()


def register(
    name: str,
    *,
    version: str = "1",
    max_crashes: int | None = None,
    history: Literal["all", "latest"] | int = "all",
    commit: Commit | None = None,
    asynchronous: bool | None = None,
    checkpointer: str | None = None,
    store: str | None = None,
    cache: str | None = None,
    cache_version: str | None = None,
) -> Callable[[Registered], Registered]:
    """Register the decorated builder under a name and a version; it stays as it is.

    The builder takes no arguments and returns a StateGraph, a compiled graph or an @entrypoint; it
    runs at the first use in a process, not now. Such an object may be registered itself, too.
    ``max_crashes``: deaths without progress after which a run fails (None: the setting
    MAX_CRASHES). ``history``: how many of a run's root checkpoints stay once it has ended: "all", "latest"
    or a number; what they need stays too, and the rest is deleted soon after. ``commit``: "relaxed" if its
    checkpoints need not wait for the disk, or "durable" (None: the setting COMMIT). ``asynchronous``: True or
    False where it cannot be seen from the graph. ``cache_version``: what its nodes cached under another one, or
    under none, is not found any more. ``checkpointer``, ``store``, ``cache``: where its runs keep theirs, as an
    address (None: the settings of the same name). Raises GraphDefinitionError.
    """
    frame = sys._getframe(1)
    caller = Caller(str(frame.f_globals.get("__name__", "?")), frame.f_code.co_filename, frame.f_lineno)
    check_options(name, version, max_crashes, history, commit, cache_version)
    check_addresses(name, {"checkpointer": checkpointer, "store": store, "cache": cache})

    def decorate(builder: Registered) -> Registered:
        from langgraph.pregel import Pregel

        from holdfast.graphs.spec import GraphSpec

        spec = GraphSpec(
            name=name,
            version=version,
            builder=as_builder(name, builder),
            max_crashes=max_crashes,
            history=HISTORY[history] if isinstance(history, str) else history,
            commit=commit,
            asynchronous=asynchronous,
            checkpointer=checkpointer,
            store=store,
            cache=cache,
            cache_version=cache_version,
            module=module_of(builder, caller),
            place=place_of(builder, caller),
        )
        if not callable(builder) or isinstance(builder, Pregel):
            spec.compile()  # it is there already, so it can be refused here
        _add(spec)
        return builder

    return decorate


def get(name: str, version: str | None = None) -> GraphSpec:
    """The spec of that name; without a version, the one registered last. Raises UnknownGraphError."""
    _discovery.complete()
    with _table:
        versions = dict(_specs.get(name, {})) if _is_text(name) else {}
        names = sorted(_specs)
    if versions and version is None:
        return list(versions.values())[-1]
    if _is_text(version) and version in versions:
        return versions[version]
    if versions:
        raise UnknownGraphError(
            f"The graph {name!r} has no version {version!r}; registered: {', '.join(versions)}. "
            "Keep an old version registered until its runs have ended.",
            graph=name,
            version=version,
            known=tuple(versions),
        )
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    known = (
        f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(names) or 'none'}."
    )
    raise UnknownGraphError(
        f"No graph is registered as {name!r}; {known} A graph is registered with "
        "@holdfast.register in the graphs.py of an installed app.",
        graph=name,
        version=version,
        known=tuple(near or names),
    )


def _is_text(value: object) -> bool:
    """What is none may not even be looked up: a list has no hash."""
    return isinstance(value, str)


def all() -> tuple[GraphSpec, ...]:
    """Every registered spec: names in order, versions as they were registered."""
    _discovery.complete()
    with _table:
        return tuple(spec for name in sorted(_specs) for spec in _specs[name].values())


def cache_versions() -> dict[str, frozenset[str]]:
    """By name, under which labels the cached values of each graph's versions can be found now."""
    specs = all()
    return {
        name: frozenset(spec.cache_label for spec in specs if spec.name == name)
        for name in {spec.name for spec in specs}
    }


def problems() -> tuple[GraphDefinitionError, ...]:
    """Compile every graph and return what is wrong with those that cannot be used."""
    found = []
    for spec in all():
        try:
            spec.compile()
        except GraphDefinitionError as error:
            found.append(error)
    return tuple(found)


def discover_lazily(source: Callable[[], Iterable[str]]) -> None:
    """Let the first lookup discover the apps that ``source`` names then."""
    _discovery.ask(source)


_discovery = Discovery()


def _add(spec: GraphSpec) -> None:
    with _table:
        versions = _specs.setdefault(spec.name, {})
        other = versions.get(spec.version)
        # A REPL or notebook defines the same thing again and again: there the last one counts.
        if other is None or other.place == spec.place or ", <" in spec.place:
            versions[spec.version] = spec
            return
    raise GraphDefinitionError(
        f"The graph {spec.name!r} is registered twice in version {spec.version!r}: at {other.place} "
        f"and at {spec.place}. Give one another name, or another version.",
        graph=spec.name,
        version=spec.version,
        places=(other.place, spec.place),
    )
