"""Whether an address can be used at all, told without opening it: before a run is accepted that could not begin (P11).

It says nothing of the server, which may be down at the moment.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from psycopg import Error
from psycopg.conninfo import conninfo_to_dict

from holdfast.errors import ConfigurationError
from holdfast.persistence.backends.address import CUSTOM, DJANGO, Kind, checked, path_of, scheme_of, shown


def usable(address: str | None, kind: Kind) -> str:
    """The address, or for None the setting's. Raises ConfigurationError, also for a factory that is not there."""
    found = checked(address, kind)
    if found != DJANGO:
        _look_once(found, kind)
    return found


def factory_of(address: str) -> Callable[[], Any]:
    """What ``module:factory`` names. Raises ConfigurationError."""
    module, _, name = address.partition(":")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"The backend {address!r} cannot be imported: {error}.", setting=address
        ) from error
    if not callable(found):
        raise ConfigurationError(
            f"The backend {address!r} is a {type(found).__qualname__}, not a function.", setting=address
        )
    factory: Callable[[], Any] = found
    return factory


def missing(address: str, kind: Kind, why: object) -> ConfigurationError:
    """The error for an extra that is not installed."""
    extra = scheme_of(address, kind).extra
    return ConfigurationError(
        f"{kind} is {shown(address)!r}, whose package is not installed ({why}). "
        f"Install it: pip install 'holdfast[{extra}]'",
        setting=kind,
        extra=extra,
    )


@cache  # what was found once is there; an error is looked for again
def _look_once(address: str, kind: Kind) -> None:
    scheme = scheme_of(address, kind)
    if scheme is CUSTOM:
        factory_of(address)
    elif scheme.module == "sqlite":
        path_of(address)
    elif scheme.module != "memory":
        _check_server(address, kind, by_psycopg=scheme.module == "postgresql")
    for package in scheme.packages:
        if not _is_there(package):
            raise missing(address, kind, f"no module named {package!r}")


def _check_server(address: str, kind: Kind, *, by_psycopg: bool) -> None:
    try:
        if by_psycopg:
            conninfo_to_dict(address)
            return
        parts = urlsplit(address)
        # MongoDB's may name several servers, of which urlsplit makes neither host nor port.
        if "," in parts.netloc or (parts.port != 0 and parts.hostname):
            return
        reason = "it names no server"
    except (Error, ValueError) as error:
        reason = type(error).__name__  # its text may hold the password
    raise ConfigurationError(f"{kind} is {shown(address)!r}, which cannot be read: {reason}.", setting=kind)


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # what it stands in
        return False
