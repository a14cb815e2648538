"""A PostgreSQL array as a column, in any project.

Since Django 6.0 its ``ArrayField`` is an error (postgres.E005) unless ``django.contrib.postgres`` is installed. That
app holds lookups, search and form templates; a column that is only read and written needs none of them, and whoever
installs Holdfast names two apps, not three.
"""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.checks import CheckMessage

_ASKS_FOR_THE_APP = "postgres.E005"


class Array(ArrayField):  # type: ignore[type-arg]  # the stubs' parameters are none at run time
    """Django's array, in migrations too; says nothing of an app that it does not need."""

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        return [found for found in super().check(**kwargs) if found.id != _ASKS_FOR_THE_APP]

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.contrib.postgres.fields.ArrayField", args, kwargs
