"""Where a broker URL points: to a libpq URL, or to an alias of Django's DATABASES.

Never opens a connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from kombu.utils.url import safequote

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_NOT_LIBPQ = ("context", "cursor_factory", "prepare_threshold", "server_side_binding")


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """One broker: exactly one of the two is set."""

    alias: str | None = None
    url: str | None = None

    def connect_options(self) -> dict[str, Any]:
        """Arguments for libpq; those of an alias are its live settings, so test databases work."""
        if self.alias is None:
            assert self.url is not None
            from psycopg.conninfo import conninfo_to_dict

            return dict(conninfo_to_dict(self.url))
        options = self.django().get_connection_params()
        return {name: value for name, value in options.items() if name not in _NOT_LIBPQ}

    def django(self) -> BaseDatabaseWrapper:
        """Django's connection of the alias in the calling thread, opened or not."""
        from django.db import connections

        assert self.alias is not None
        return connections[self.alias]

    def shown(self, include_password: bool = False, mask: str = "**") -> str:
        """The broker URL for people, its password masked unless asked for."""
        if self.alias is not None:
            return f"holdfast://{self.alias}"
        assert self.url is not None
        if include_password:
            return f"holdfast+{self.url}"
        parts = urlsplit(self.url)
        place = parts.netloc
        if parts.password is not None:
            user, _, host = place.rpartition("@")
            place = f"{user.partition(':')[0]}:{mask}@{host}"
        options = re.sub(r"(?<=password=)[^&]*", mask, parts.query)
        return f"holdfast+{urlunsplit(parts._replace(netloc=place, query=options))}"


def resolve(client: Any) -> Address:
    """The address that a kombu Connection names. Raises ValueError for a URL that names none."""
    host = client.hostname or ""
    if host.startswith("holdfast+"):
        host = host.removeprefix("holdfast+")
    if host.startswith(("postgresql://", "postgres://")):
        return Address(url=host)
    if host.startswith("holdfast://"):
        alias = host.removeprefix("holdfast://").strip("/")
        if alias and not set(alias) & set("/:@?"):
            return _of_alias(alias)
        raise ValueError(f"{host!r} names no alias of DATABASES; write holdfast://default")
    if client.transport_cls == "holdfast+postgresql":  # kombu has taken a failover URL apart
        user = safequote(client.userid) if client.userid else ""
        if client.password:
            user += f":{safequote(client.password)}"
        port = f":{client.port}" if client.port else ""
        database = (client.virtual_host or "").strip("/")
        return Address(url=f"postgresql://{user}{'@' if user else ''}{host}{port}/{safequote(database)}")
    return _of_alias(host or "default")


def _of_alias(alias: str) -> Address:
    """``celery inspect`` and the like only import the app: Django is set up here, or it warns of each first query."""
    from django.apps import apps

    if not apps.ready and not getattr(apps, "loading", False):
        import django

        django.setup()
    return Address(alias=alias)
