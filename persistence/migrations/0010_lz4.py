"""Large values are compressed with lz4 from now on, where the server has it; rewrites nothing."""

from __future__ import annotations

from typing import Any

from django.db import migrations

from holdfast.persistence.toast import compress, compress_by_default


def forwards(apps: Any, schema_editor: Any) -> None:
    """Also called on databases other than Holdfast's, where a project routes no migrations away."""
    if schema_editor.connection.vendor == "postgresql":
        compress(schema_editor)


def backwards(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        compress_by_default(schema_editor)


class Migration(migrations.Migration):
    atomic = False  # each table is locked for a moment only
    dependencies = [("holdfast_persistence", "0009_history")]

    operations = [migrations.RunPython(forwards, backwards, atomic=False)]
