"""The Django app of the runner: finds graphs, registers checks and signals."""

from __future__ import annotations

from django.apps import AppConfig


class RunnerConfig(AppConfig):
    """Pins its label and its auto field, whatever the project's own defaults are."""

    name = "holdfast.runner"
    label = "holdfast_runner"
    verbose_name = "Holdfast"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # broker names our transport to kombu, in web processes and workers alike; checks registers the checks.
        from holdfast.runner import broker, checks, discovery  # noqa: F401

        discovery.install()
