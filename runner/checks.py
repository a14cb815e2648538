"""System checks of the runner: what would go wrong at the first enqueue is told at start.

The settings themselves are checked by ``holdfast.persistence.checks``. Nothing here imports LangGraph or a graph,
but for ``check --deploy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning, register

from holdfast.errors import ConfigurationError
from holdfast.graphs import registry
from holdfast.persistence.backends.address import KINDS
from holdfast.persistence.backends.usable import usable
from holdfast.runner import dispatch
from holdfast.runner.schedule import beat_schedule


@register("holdfast")
def check_celery_app(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """A Celery app of the project's is current, not Celery's default app, whose broker is nobody's."""
    if dispatch.project_app() is None:
        return [
            Error(
                "Celery's default app is current: runs would be sent to amqp://guest@localhost.",
                hint="Import your Celery app in your project's __init__.py: `from .celery import app as celery_app`.",
                id="holdfast.E102",
            )
        ]
    return []


@register("holdfast")
def check_prefetch(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """A worker that fetches bells ahead of its free places keeps them from idle workers."""
    app = dispatch.project_app()
    if app is not None and app.conf.worker_prefetch_multiplier != 1:
        return [
            Warning(
                f"worker_prefetch_multiplier is {app.conf.worker_prefetch_multiplier}: a busy worker holds bells "
                "that an idle one could answer.",
                hint="Set worker_prefetch_multiplier = 1 in the Celery settings of the workers that execute runs.",
                id="holdfast.W101",
            )
        ]
    return []


@register("holdfast")
def check_schedule(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """The line of PRUNE_CRONTAB is one, also where the project's own beat entries have not been asked for yet."""
    try:
        beat_schedule()
    except ConfigurationError as problem:
        if problem.setting == "PRUNE_CRONTAB":  # whatever else is wrong there is told by persistence.checks
            return [Error(problem.message, id="holdfast.E105")]
    return []


@register("holdfast", deploy=True)
def check_graphs(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Every graph can be compiled and used (P11). An error inside a ``graphs.py`` is raised as it is."""
    return [Error(problem.message, id="holdfast.E103") for problem in registry.problems()]


@register("holdfast", deploy=True)
def check_backends(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """What graphs say about their checkpoints, store and cache can be used, as far as that is seen without opening it."""
    found: list[CheckMessage] = []
    for spec in registry.all():
        for kind in KINDS:
            try:
                usable(getattr(spec, kind.lower()), kind)
            except ConfigurationError as problem:
                found.append(Error(f"The graph {spec.name!r}: {problem.message}", id="holdfast.E104"))
    return found
