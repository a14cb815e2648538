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
        # checks registers the system checks; broker tells kombu the URLs holdfast://, in web processes too
        from holdfast.runner import broker, checks, discovery  # noqa: F401 - importing is registering

        discovery.install()
