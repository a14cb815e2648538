"""The reference site as a Django app: makes its Celery app the current one in every process."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class SiteConfig(AppConfig):
    """Has no models."""

    name = "holdfast.runner.site"
    label = "holdfast_site"
    verbose_name = "Holdfast reference site"

    def ready(self) -> None:
        import_module("holdfast.runner.site.celery")
