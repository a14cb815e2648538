"""Tells the registry of graphs which apps are installed: the only Django in discovery."""

from __future__ import annotations

from django.apps import apps

from holdfast.graphs import registry


def app_names() -> list[str]:
    """The dotted module names of the installed apps, in Django's order."""
    return [config.name for config in apps.get_app_configs()]


def install() -> None:
    """Let the first lookup of a graph import the apps' ``graphs`` modules; call from ``ready()``."""
    registry.discover_lazily(app_names)
