"""Drops three indexes of upstream's that repeat the first column of a primary key; reversing makes them again."""

from __future__ import annotations

from typing import Any

from django.db import migrations

from holdfast.persistence.upstream import drop_repeated, make_repeated


def drop(apps: Any, schema_editor: Any) -> None:
    """Also called on databases other than Holdfast's, where a project routes no migrations away."""
    if schema_editor.connection.vendor == "postgresql":
        drop_repeated(schema_editor)


def make(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        make_repeated(schema_editor)


class Migration(migrations.Migration):
    atomic = False  # the tables stay writable meanwhile
    dependencies = [("holdfast_persistence", "0005_single_flight")]

    operations = [migrations.RunPython(drop, make, atomic=False)]
