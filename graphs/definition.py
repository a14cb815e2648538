"""What is said of a graph when it is registered, and whether that can be meant."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, get_args

from holdfast.errors import GraphDefinitionError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}\Z")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/-]{0,99}\Z")

Commit = Literal["durable", "relaxed"]

HISTORY: Final[dict[str, int | None]] = {"all": None, "latest": 1}
"""The words for ``history``, as numbers of root checkpoints; None: all of them."""
MOST_HISTORY: Final = 2**15 - 1
"""Root checkpoints: the number is stored as a smallint."""


class Caller(NamedTuple):
    """Where ``register`` was called."""

    module: str
    file: str
    line: int


def check_options(
    name: Any, version: Any, max_crashes: Any, history: Any, commit: Any, cache_version: Any
) -> None:
    """Refuse what cannot be meant. Raises GraphDefinitionError."""
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
    known = isinstance(history, str) and history in HISTORY
    if not known and (type(history) is not int or not 1 <= history <= MOST_HISTORY):
        raise GraphDefinitionError(
            f'The graph {name!r} cannot have history={history!r}: "all", "latest", or the number of checkpoints '
            f"that stay when a run ends, from 1 to {MOST_HISTORY}.",
            graph=name,
        )
    if commit not in (None, *get_args(Commit)):
        raise GraphDefinitionError(
            f"The graph {name!r} cannot have commit={commit!r}: {' or '.join(map(repr, get_args(Commit)))}, or None.",
            graph=name,
        )


def check_addresses(name: str, addresses: dict[str, Any]) -> None:
    """What an address may say is known to whoever opens it; here it only has to be one. Raises GraphDefinitionError."""
    for argument, address in addresses.items():
        if address is not None and (not isinstance(address, str) or not address):
            raise GraphDefinitionError(
                f"The graph {name!r} cannot have {argument}={address!r}: it is an address, such as "
                '"django" or "sqlite:///runs.db". A saver of your own is named "module:factory".',
                graph=name,
            )


def as_builder(name: str, builder: Any) -> Callable[[], Any]:
    """A function that gives what was registered. Raises GraphDefinitionError."""
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


def module_of(builder: Any, caller: Caller) -> str:
    """The module that the graph belongs to."""
    return str(builder.__module__) if inspect.isfunction(builder) else caller.module


def place_of(builder: Any, caller: Caller) -> str:
    """Where it was defined, for people: name, file and line."""
    name = getattr(builder, "__qualname__", None) or type(builder).__name__
    file, line = caller.file, caller.line
    if callable(builder) and (code := getattr(inspect.unwrap(builder), "__code__", None)):
        file, line = code.co_filename, code.co_firstlineno
    return f"{module_of(builder, caller)}.{name}, {file}:{line}"
