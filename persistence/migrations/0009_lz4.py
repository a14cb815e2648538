"""Large values of checkpoints and writes are compressed with lz4, where the server has it, and not with pglz."""

from __future__ import annotations

from typing import Any

from django.db import migrations

from holdfast.persistence.upstream import compress_with


def faster(apps: Any, schema_editor: Any) -> None:
    """Also called on databases other than Holdfast's, where a project routes no migrations away."""
    if schema_editor.connection.vendor == "postgresql":
        compress_with(schema_editor, "lz4")


def usual(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        compress_with(schema_editor, "pglz")


class Migration(migrations.Migration):
    dependencies = [("holdfast_persistence", "0009_history")]

    operations = [migrations.RunPython(faster, usual)]
