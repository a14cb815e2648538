"""The addresses of backends: which forms there are, and what of them may be shown. Opens nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple, get_args
from urllib.parse import urlsplit

from holdfast.conf import settings
from holdfast.errors import ConfigurationError

DJANGO: Final = "django"

Kind = Literal["CHECKPOINTER", "STORE", "CACHE"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Scheme(NamedTuple):
    """The module that opens it, the extra of Holdfast's that it needs, and what that installs."""

    module: str
    extra: str | None
    kinds: tuple[Kind, ...] = ("CHECKPOINTER", "STORE", "CACHE")
    packages: tuple[str, ...] = ()


_POSTGRESQL = Scheme("postgresql", None, ("CHECKPOINTER", "STORE"))
_REDIS = Scheme("redis", "redis", packages=("redis", "langgraph.checkpoint.redis"))
_MONGODB = Scheme(
    "mongodb",
    "mongodb",
    ("CHECKPOINTER", "STORE"),
    ("langgraph.checkpoint.mongodb", "langgraph.store.mongodb"),
)
SCHEMES: Final[dict[str, Scheme]] = {
    "postgresql": _POSTGRESQL,
    "postgres": _POSTGRESQL,
    "sqlite": Scheme("sqlite", "sqlite", packages=("langgraph.checkpoint.sqlite",)),
    "memory": Scheme("memory", None),
    "redis": _REDIS,
    "rediss": _REDIS,
    "mongodb": _MONGODB,
    "mongodb+srv": _MONGODB,
}
CUSTOM: Final = Scheme("custom", None)

_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\Z")
_FORMS: Final = "django, postgresql://…, sqlite:///file, memory://, redis://…, mongodb://… or module:factory"


def scheme_of(address: str, kind: Kind) -> Scheme:
    """The scheme of an address other than ``django``. Raises ConfigurationError."""
    name, separator, _ = address.partition("://")
    scheme = SCHEMES.get(name) if separator else (CUSTOM if _FACTORY.match(address) else None)
    if scheme is None:
        raise ConfigurationError(
            f"{kind} is {shown(address)!r}, which names no backend; there are {_FORMS}.", setting=kind
        )
    if kind not in scheme.kinds:
        can = ", ".join(sorted(each for each, form in SCHEMES.items() if kind in form.kinds))
        raise ConfigurationError(
            f"{kind} is {shown(address)!r}, but LangGraph has no {kind.lower()} there; "
            f"use django, {can} or module:factory.",
            setting=kind,
        )
    return scheme


def checked(address: str | None, kind: Kind) -> str:
    """The address, or for None the setting's. Raises ConfigurationError if it has no known form."""
    found: str = getattr(settings(), kind) if address is None else address
    if found != DJANGO:
        scheme_of(found, kind)
    return found


def path_of(address: str) -> str:
    """The file's path of a ``sqlite://`` address. Raises ConfigurationError."""
    path = address.removeprefix("sqlite://")
    if not path.startswith("/") or len(path) < 2 or path == "/:memory:":
        raise ConfigurationError(
            f"{address!r} names no file: sqlite:///relative.db or sqlite:////absolute/path.db; "
            "what is to be gone with the process is memory://.",
            setting=address,
        )
    return path[1:]


def shown(address: str) -> str:
    """The address as it may be shown and stored: without user, password and options."""
    if "://" not in address:
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        return address.partition("://")[0] + "://…"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


Names = Callable[[Kind], Iterable[str]]


def _nobody(kind: Kind) -> Iterable[str]:
    return ()


_named_by_graphs: Names = _nobody


def let_graphs_name(names: Names) -> None:
    """Say who knows which addresses the registered graphs have; called by whoever knows graphs."""
    global _named_by_graphs
    _named_by_graphs = names


def known(kind: Kind) -> list[str]:
    """The addresses in use other than ``django``: the setting's and the graphs'."""
    named: list[str] = [getattr(settings(), kind), *_named_by_graphs(kind)]
    return [address for address in dict.fromkeys(named) if address != DJANGO]


def of_name(name: str, kind: Kind) -> str | None:
    """The address in use that is shown like that."""
    return next((address for address in known(kind) if shown(address) == name), None)
