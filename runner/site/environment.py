"""Reads the reference site's environment: each variable, its form and its default.

Says in one line what is missing or wrong; starts nothing and connects to nothing.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Final

from holdfast.errors import ConfigurationError

SITE_SETTINGS: Final = "holdfast.runner.site.settings"
WITHOUT_DATABASE: Final = "HOLDFAST_WITHOUT_DATABASE"
"""Set to 1 for what reads the settings and never a database: help texts, type checkers, image builds."""

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})


def flag(name: str, *, default: bool = False) -> bool:
    """A switch: 1/true/yes/on or 0/false/no/off. Raises ConfigurationError."""
    text = os.environ.get(name)
    if text is None:
        return default
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ConfigurationError(f"{name} is {text!r}: write 1 or 0.", setting=name)


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list."""
    return [word for part in os.environ.get(name, default).split(",") if (word := part.strip())]


def number(name: str, default: int) -> int:
    """A whole number, zero or more. Raises ConfigurationError."""
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise ConfigurationError(f"{name} is {text!r}: write a whole number, zero or more.", setting=name)
    return int(text)


def databases() -> dict[str, dict[str, Any]]:
    """DATABASES from DATABASE_URL. Raises ConfigurationError if it is missing or not PostgreSQL's."""
    url = os.environ.get("DATABASE_URL", "")
    if url:
        return {"default": database(url)}
    if flag(WITHOUT_DATABASE):
        return {}
    raise ConfigurationError(
        "DATABASE_URL is not set. Set it to postgresql://user:password@host:5432/name, or let "
        f"`holdfast up` start a PostgreSQL here{_running_here()}. In a project of your own, set "
        "DJANGO_SETTINGS_MODULE, or say `manage.py holdfast`.",
        setting="DATABASE_URL",
    )


def _running_here() -> str:
    from holdfast.persistence.embedded import home

    env = home() / "env"
    return f" (one runs already: `. {env}` points this shell at it)" if env.exists() else ""


def database(url: str) -> dict[str, Any]:
    """One entry of DATABASES. The password never appears in an error."""
    try:
        import dj_database_url
    except ImportError as error:
        raise ConfigurationError(
            "The reference site needs dj-database-url: pip install 'holdfast[site]'.", setting="DATABASE_URL"
        ) from error
    form = "it must look like postgresql://user:password@host:5432/name"
    try:
        parsed: dict[str, Any] = {**dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True)}
    except ValueError as error:
        raise ConfigurationError(f"DATABASE_URL cannot be read: {form}.", setting="DATABASE_URL") from error
    if parsed["ENGINE"] != "django.db.backends.postgresql":
        raise ConfigurationError(f"DATABASE_URL is not PostgreSQL's: {form}.", setting="DATABASE_URL")
    if not parsed["NAME"]:
        raise ConfigurationError(f"DATABASE_URL names no database: {form}.", setting="DATABASE_URL")
    # A unix socket stands in the query (?host=/run/…); Django has a place of its own for it.
    options: dict[str, Any] = {**parsed.get("OPTIONS", {})}
    for key in ("host", "port"):
        if value := options.pop(key, None):
            parsed[key.upper()] = value
    return {**parsed, "OPTIONS": options}


def broker_url() -> str:
    """BROKER_URL; without one, Celery's messages go through the site's own PostgreSQL."""
    return os.environ.get("BROKER_URL") or "holdfast://default"


def secret_key() -> str:
    """SECRET_KEY. Raises ConfigurationError; ``up`` and ``demo`` set it from ``kept_secret``."""
    key = os.environ.get("SECRET_KEY", "")
    if key or flag(WITHOUT_DATABASE):
        return key or "not-a-secret-nothing-is-served"
    raise ConfigurationError(
        "SECRET_KEY is not set. Make one with `python -c 'import secrets; print(secrets.token_urlsafe(50))'` "
        "and keep it the same for every process.",
        setting="SECRET_KEY",
    )


def kept_secret(path: Path, *, size: int = 38) -> str:
    """The secret in that file (mode 600), made on first use from ``size`` random bytes."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text("ascii").strip()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        secret = secrets.token_urlsafe(size)
        file.write(secret + "\n")
    return secret
