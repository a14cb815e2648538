"""Finds the graphs of installed apps: imports ``<app>.graphs``, once, at the first lookup."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec


def discover(apps: Iterable[str]) -> None:
    """Import ``<app>.graphs`` of each dotted app name that has one; whatever it raises is raised."""
    for app in apps:
        package = import_module(app)
        if not hasattr(package, "__path__"):
            continue  # an app that is a single module has nothing below it
        if find_spec(f"{app}.graphs") is not None:
            import_module(f"{app}.graphs")


class Discovery:
    """Discovers once, at the first lookup; a lookup in another thread waits until it is done."""

    def __init__(self) -> None:
        self.source: Callable[[], Iterable[str]] | None = None
        # Apart from the table's lock: while one thread imports a graphs module, another may be
        # importing the same one and register from it; with one lock the two would wait for each other.
        self.lock = threading.RLock()
        self.under_way = False

    def ask(self, source: Callable[[], Iterable[str]]) -> None:
        """Let the next lookup discover the apps that ``source`` names then."""
        with self.lock:
            self.source = source

    def complete(self) -> None:
        """Discover, unless that is done; raises what an app's ``graphs`` raises."""
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
