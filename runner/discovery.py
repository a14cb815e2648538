"""Tells the registry of graphs which apps are installed: the only Django in discovery."""

from __future__ import annotations

from django.apps import apps

from holdfast.errors import HoldfastError
from holdfast.graphs import registry
from holdfast.persistence import codec
from holdfast.persistence.backends import address


def app_names() -> list[str]:
    """The dotted module names of the installed apps, in Django's order."""
    return [config.name for config in apps.get_app_configs()]


def install() -> None:
    """Let the first lookup of a graph import the apps' ``graphs`` modules; call from ``ready()``."""
    registry.discover_lazily(app_names)
    codec.let_graphs_allow(types_of)
    address.let_graphs_name(addresses)


def types_of(graph: str, version: str) -> frozenset[tuple[str, str]]:
    """The types that the graph declares; none for a graph that is not registered here (any more)."""
    try:
        return registry.get(graph, version).allowlist
    except HoldfastError:
        return frozenset()


def addresses(kind: address.Kind) -> list[str]:
    """The addresses of that kind which registered graphs name."""
    named: list[str | None] = [getattr(spec, kind.lower()) for spec in registry.all()]
    return [each for each in named if each is not None]
