"""Sets Django up for a command, under the project's settings or the reference site's."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from holdfast.errors import ConfigurationError
from holdfast.runner.site.environment import SITE_SETTINGS


def ready() -> None:
    """Set Django up under DJANGO_SETTINGS_MODULE, or as the reference site. Raises HoldfastError."""
    import django
    from django.apps import apps

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SITE_SETTINGS)
    if not apps.ready:
        _find_project()
        django.setup()


def _find_project() -> None:
    """Let a project's modules be found in the folder where the command is given, as Celery does.

    Raises ConfigurationError where the settings are not there either.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    module = os.environ["DJANGO_SETTINGS_MODULE"]
    try:
        found = find_spec(module)
    except ModuleNotFoundError as error:
        if not error.name or not f"{module}.".startswith(f"{error.name}."):
            raise  # of something that the project imports
        found = None
    if found is None:
        raise ConfigurationError(
            f"DJANGO_SETTINGS_MODULE is {module}, and there is no such module here: go to the project's folder, "
            "or say `manage.py holdfast`.",
            setting="DJANGO_SETTINGS_MODULE",
        )
