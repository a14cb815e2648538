"""The Django app of the examples: add ``holdfast.graphs.examples`` to INSTALLED_APPS to have them."""

from __future__ import annotations

from django.apps import AppConfig


class ExamplesConfig(AppConfig):
    """Pins its label and its auto field, whatever the project's own defaults are."""

    name = "holdfast.graphs.examples"
    label = "holdfast_examples"
    verbose_name = "Holdfast examples"
    default_auto_field = "django.db.models.BigAutoField"
