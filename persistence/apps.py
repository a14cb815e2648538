"""The Django app of the tables."""

from __future__ import annotations

from django.apps import AppConfig


class PersistenceConfig(AppConfig):
    """Pins its label and its auto field, whatever the project's own defaults are."""

    name = "holdfast.persistence"
    label = "holdfast_persistence"
    verbose_name = "Holdfast"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from holdfast.persistence import checks  # noqa: F401 - registers the system checks
