"""Sets Django up for a command, under the project's settings or the reference site's."""

from __future__ import annotations

import os

from holdfast.runner.site.environment import SITE_SETTINGS


def ready() -> None:
    """Set Django up under DJANGO_SETTINGS_MODULE, or as the reference site. Raises HoldfastError."""
    import django
    from django.apps import apps

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SITE_SETTINGS)
    if not apps.ready:
        django.setup()
