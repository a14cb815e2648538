"""Upstream's checkpoint and store tables: made where they are missing, adopted where they exist.

What ``PostgresSaver.setup()`` and ``PostgresStore.setup()`` would do is done and noted where they
look, so that they find nothing to do; tables that they have made, and what is in them, are left as
they are. Reversing leaves upstream's tables and data.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations, models

from holdfast.persistence.upstream import bring_up


def make_or_adopt(apps: Any, schema_editor: Any) -> None:
    """Also called on databases other than Holdfast's, where a project routes no migrations away."""
    if schema_editor.connection.vendor == "postgresql":
        bring_up(schema_editor)


def leave(apps: Any, schema_editor: Any) -> None:
    """Upstream's tables, and what is in them, stay."""


class Migration(migrations.Migration):
    initial = True
    atomic = False  # an adopted table stays writable while a missing index is built
    dependencies = []

    operations = [
        migrations.RunPython(make_or_adopt, leave, atomic=False),
        migrations.CreateModel(
            name="Checkpoint",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "thread_id",
                        "checkpoint_ns",
                        "checkpoint_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("thread_id", models.TextField()),
                ("checkpoint_ns", models.TextField(default="")),
                ("checkpoint_id", models.TextField()),
                ("parent_checkpoint_id", models.TextField(null=True)),
                ("type", models.TextField(null=True)),
                ("checkpoint", models.JSONField()),
                ("metadata", models.JSONField(default=dict)),
            ],
            options={
                "db_table": "checkpoints",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="CheckpointBlob",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "thread_id",
                        "checkpoint_ns",
                        "channel",
                        "version",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("thread_id", models.TextField()),
                ("checkpoint_ns", models.TextField(default="")),
                ("channel", models.TextField()),
                ("version", models.TextField()),
                ("type", models.TextField()),
                ("blob", models.BinaryField(null=True)),
            ],
            options={
                "db_table": "checkpoint_blobs",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="CheckpointWrite",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "thread_id",
                        "checkpoint_ns",
                        "checkpoint_id",
                        "task_id",
                        "idx",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("thread_id", models.TextField()),
                ("checkpoint_ns", models.TextField(default="")),
                ("checkpoint_id", models.TextField()),
                ("task_id", models.TextField()),
                ("idx", models.IntegerField()),
                ("channel", models.TextField()),
                ("type", models.TextField(null=True)),
                ("blob", models.BinaryField()),
                ("task_path", models.TextField(default="")),
            ],
            options={
                "db_table": "checkpoint_writes",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="StoreItem",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "prefix", "key", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("prefix", models.TextField()),
                ("key", models.TextField()),
                ("value", models.JSONField()),
                ("created_at", models.DateTimeField(null=True)),
                ("updated_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField(null=True)),
                ("ttl_minutes", models.IntegerField(null=True)),
            ],
            options={
                "db_table": "store",
                "managed": False,
            },
        ),
    ]
