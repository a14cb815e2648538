"""Which graphs there are: ``register``, lookup, and discovery of ``<app>/graphs.py``.

Pure Python and LangGraph: it knows no Django; the runner tells it which apps are installed. A
module that is imported twice registers once; two builders never share a name and version.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
import threading
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar, get_args

from holdfast.errors import GraphDefinitionError, UnknownGraphError

if TYPE_CHECKING:  # LangGraph takes seconds to import, and whoever has a graph to register has done so
    from langgraph.graph import StateGraph
    from langgraph.pregel import Pregel

    from holdfast.graphs.spec import GraphSpec

Registered = TypeVar("Registered", bound="Callable[[], Any] | StateGraph[Any, Any, Any, Any] | Pregel[Any]")


class _Caller(NamedTuple):
    """Where ``register`` was called."""

    module: str
    file: str
    line: int


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}\Z")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/-]{0,99}\Z")

Commit = Literal["durable", "relaxed"]

_HISTORY: Final[dict[str, int | None]] = {"all": None, "latest": 1}
_MOST_HISTORY: Final = 2**15 - 1

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
    caller = _Caller(str(frame.f_globals.get("__name__", "?")), frame.f_code.co_filename, frame.f_lineno)
    _check_options(name, version, max_crashes, history, commit, cache_version)
    _check_addresses(name, {"checkpointer": checkpointer, "store": store, "cache": cache})

    def decorate(builder: Registered) -> Registered:
        from langgraph.pregel import Pregel

        from holdfast.graphs.spec import GraphSpec

        spec = GraphSpec(
            name=name,
            version=version,
            builder=_as_builder(name, builder),
            max_crashes=max_crashes,
            history=_HISTORY[history] if isinstance(history, str) else history,
            commit=commit,
            asynchronous=asynchronous,
            checkpointer=checkpointer,
            store=store,
            cache=cache,
            cache_version=cache_version,
            module=_module(builder, caller),
            place=_place(builder, caller),
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
        versions = dict(_specs.get(name, {}))
        names = sorted(_specs)
    if versions and version is None:
        return list(versions.values())[-1]
    if version in versions:
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


def discover(apps: Iterable[str]) -> None:
    """Import ``<app>.graphs`` of each dotted app name that has one; whatever it raises is raised."""
    for app in apps:
        package = import_module(app)
        if not hasattr(package, "__path__"):
            continue  # an app that is a single module has nothing below it
        if find_spec(f"{app}.graphs") is not None:
            import_module(f"{app}.graphs")


def discover_lazily(source: Callable[[], Iterable[str]]) -> None:
    """Let the first lookup discover the apps that ``source`` names then."""
    _discovery.ask(source)


class _Discovery:
    """Discovers once, at the first lookup; a lookup in another thread waits until it is done."""

    def __init__(self) -> None:
        self.source: Callable[[], Iterable[str]] | None = None
        # Apart from the table's lock: while one thread imports a graphs module, another may be
        # importing the same one and register from it; with one lock the two would wait for each other.
        self.lock = threading.RLock()
        self.under_way = False

    def ask(self, source: Callable[[], Iterable[str]]) -> None:
        with self.lock:
            self.source = source

    def complete(self) -> None:
        with self.lock:
            source = self.source
            if source is None or self.under_way:  # under way: a module that looks up as it is imported
                return
            self.under_way = True
            try:
                discover(source())
                self.source = None  # what failed is tried, and fails, again at the next lookup
            finally:
                self.under_way = False


_discovery = _Discovery()


def _check_options(
    name: Any, version: Any, max_crashes: Any, history: Any, commit: Any, cache_version: Any
) -> None:
    if not isinstance(name, str) or not _NAME.match(name):
        raise GraphDefinitionError(
            f"{name!r} cannot be a graph's name: 1 to 200 letters, digits and . _ : / -, "
            'as in @register("digest").',
            graph=name,
        )
    if not isinstance(version, str) or not _VERSION.match(version):
        raise GraphDefinitionError(
            f"The graph {name!r} cannot have the version {version!r}: a string of 1 to 100 letters, "
            'digits and . _ : + / -, as in version="2".',
            graph=name,
        )
    if cache_version is not None and (
        not isinstance(cache_version, str) or not _VERSION.match(cache_version)
    ):
        raise GraphDefinitionError(
            f"The graph {name!r} cannot have cache_version={cache_version!r}: a string of 1 to 100 letters, "
            'digits and . _ : + / -, as in cache_version="2", or None.',
            graph=name,
        )
    if max_crashes is not None and (type(max_crashes) is not int or max_crashes < 1):
        raise GraphDefinitionError(
            f"The graph {name!r} cannot have max_crashes={max_crashes!r}: a whole number from 1, or None.",
            graph=name,
        )
    known = isinstance(history, str) and history in _HISTORY
    if not known and (type(history) is not int or not 1 <= history <= _MOST_HISTORY):
        raise GraphDefinitionError(
            f'The graph {name!r} cannot have history={history!r}: "all", "latest", or the number of checkpoints '
            f"that stay when a run ends, from 1 to {_MOST_HISTORY}.",
            graph=name,
        )

    if commit not in (None, *get_args(Commit)):
        raise GraphDefinitionError(
            f"The graph {name!r} cannot have commit={commit!r}: {' or '.join(map(repr, get_args(Commit)))}, or None.",
            graph=name,
        )


def _check_addresses(name: str, addresses: dict[str, Any]) -> None:
    """What an address may say is known to whoever opens it; here it only has to be one."""
    for argument, address in addresses.items():
        if address is not None and (not isinstance(address, str) or not address):
            raise GraphDefinitionError(
                f"The graph {name!r} cannot have {argument}={address!r}: it is an address, such as "
                '"django" or "sqlite:///runs.db". A saver of your own is named "module:factory".',
                graph=name,
            )


def _as_builder(name: str, builder: Any) -> Callable[[], Any]:
    from langgraph.graph import StateGraph
    from langgraph.pregel import Pregel

    if isinstance(builder, (StateGraph, Pregel)):
        return lambda: builder
    if not callable(builder) or isinstance(builder, type):
        raise GraphDefinitionError(
            f"The graph {name!r} is registered with {builder!r}, which is not a function that builds a graph.",
            graph=name,
        )
    if inspect.iscoroutinefunction(builder):
        raise GraphDefinitionError(
            f"The builder of {name!r} is async. Builders are plain functions; the graph's nodes may be async.",
            graph=name,
        )
    needed = [
        parameter.name
        for parameter in inspect.signature(builder).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise GraphDefinitionError(
            f"The builder of {name!r} takes {', '.join(needed)}; a builder is called without arguments.",
            graph=name,
        )
    built: Callable[[], Any] = builder
    return built


def _module(builder: Any, caller: _Caller) -> str:
    return str(builder.__module__) if inspect.isfunction(builder) else caller.module


def _place(builder: Any, caller: _Caller) -> str:
    name = getattr(builder, "__qualname__", None) or type(builder).__name__
    file, line = caller.file, caller.line
    if callable(builder) and (code := getattr(inspect.unwrap(builder), "__code__", None)):
        file, line = code.co_filename, code.co_firstlineno
    return f"{_module(builder, caller)}.{name}, {file}:{line}"


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
