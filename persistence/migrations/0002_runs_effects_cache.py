"""Holdfast's own tables: runs, effects, node cache; its clock; the incarnation marker."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

# The one clock is the database's. Tests move it with the session variable holdfast.clock_offset.
CLOCK = """
CREATE OR REPLACE FUNCTION holdfast_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT clock_timestamp() + coalesce(nullif(current_setting('holdfast.clock_offset', true), ''), '0')::interval
$$;
"""

# UNLOGGED: a crash or a promotion empties the table, which is its purpose (R9). The run row is
# updated twice a second while it executes, so its pages keep room for in-page (HOT) updates.
STORAGE = """
ALTER TABLE holdfast_incarnation SET UNLOGGED;
ALTER TABLE holdfast_run SET (fillfactor = 60);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("holdfast_persistence", "0001_upstream_checkpoints"),
    ]

    operations = [
        migrations.CreateModel(
            name="CancelRequest",
            fields=[
                ("run_id", models.UUIDField(primary_key=True, serialize=False)),
                ("rollback", models.BooleanField(default=False)),
                ("reason", models.TextField(default="")),
                ("requested_at", models.DateTimeField()),
            ],
            options={
                "db_table": "holdfast_cancel_request",
            },
        ),
        migrations.CreateModel(
            name="Effect",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("run_id", models.UUIDField(db_index=True)),
                ("thread_id", models.CharField(max_length=255)),
                ("task_id", models.TextField()),
                ("function", models.TextField()),
                ("call", models.IntegerField()),
                ("kind", models.CharField(max_length=16)),
                ("arguments_hash", models.CharField(max_length=64)),
                ("arguments", models.TextField(default="")),
                (
                    "state",
                    models.CharField(
                        choices=[("begun", "Begun"), ("done", "Done"), ("in_doubt", "In Doubt")],
                        max_length=16,
                    ),
                ),
                ("attempts", models.IntegerField(default=1)),
                ("answers", models.IntegerField(default=0)),
                ("error", models.TextField(default="")),
                ("result_type", models.CharField(max_length=32, null=True)),
                ("result", models.BinaryField(null=True)),
                ("begun_at", models.DateTimeField()),
                ("done_at", models.DateTimeField(null=True)),
                ("token", models.UUIDField()),
            ],
            options={
                "db_table": "holdfast_effect",
            },
        ),
        migrations.CreateModel(
            name="Entry",
            fields=[
                ("run_id", models.UUIDField(primary_key=True, serialize=False)),
                ("thread_id", models.CharField(max_length=255)),
                ("checkpoint_id", models.TextField()),
            ],
            options={
                "verbose_name_plural": "entries",
                "db_table": "holdfast_entry",
            },
        ),
        migrations.CreateModel(
            name="Incarnation",
            fields=[
                ("singleton", models.BooleanField(default=True, primary_key=True, serialize=False)),
                ("since", models.DateTimeField()),
            ],
            options={
                "db_table": "holdfast_incarnation",
            },
        ),
        migrations.CreateModel(
            name="Thread",
            fields=[
                ("id", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "db_table": "holdfast_thread",
            },
        ),
        migrations.CreateModel(
            name="NodeCacheEntry",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "namespace",
                    django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None),
                ),
                ("key", models.TextField()),
                ("type", models.CharField(max_length=32)),
                ("value", models.BinaryField()),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(db_index=True, null=True)),
            ],
            options={
                "verbose_name": "cache entry",
                "verbose_name_plural": "cache entries",
                "db_table": "holdfast_node_cache",
                "constraints": [
                    models.UniqueConstraint(fields=("namespace", "key"), name="holdfast_node_cache_key")
                ],
            },
        ),
        migrations.CreateModel(
            name="Step",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("run_id", models.UUIDField()),
                ("delivery", models.IntegerField()),
                ("step", models.IntegerField()),
                ("node", models.TextField()),
                ("task_id", models.TextField()),
                ("namespace", models.TextField(default="")),
                ("owner", models.CharField(max_length=255)),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(null=True)),
                ("outcome", models.CharField(max_length=16)),
            ],
            options={
                "db_table": "holdfast_step",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("run_id", "delivery", "task_id"), name="holdfast_step_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="RunRow",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("graph", models.CharField(max_length=200)),
                ("version", models.CharField(max_length=100)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("interrupted", "Interrupted"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        max_length=16,
                    ),
                ),
                ("input_type", models.CharField(max_length=32)),
                ("input", models.BinaryField(null=True)),
                ("config", models.JSONField(default=dict)),
                ("context_type", models.CharField(default="null", max_length=32)),
                ("context", models.BinaryField(null=True)),
                ("metadata", models.JSONField(default=dict)),
                ("priority", models.SmallIntegerField(default=0)),
                ("queue", models.CharField(max_length=200, null=True)),
                ("multitask_strategy", models.CharField(default="enqueue", max_length=16)),
                ("idempotency_key", models.CharField(max_length=255, null=True, unique=True)),
                ("request_hash", models.CharField(max_length=64)),
                ("not_before", models.DateTimeField()),
                ("deadline", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField()),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("holds_thread", models.BooleanField(default=False)),
                ("deliveries", models.IntegerField(default=0)),
                ("crashes", models.IntegerField(default=0)),
                ("max_crashes", models.SmallIntegerField(default=3)),
                ("crash_marker", models.TextField(null=True)),
                ("token", models.UUIDField(null=True, unique=True)),
                ("owner", models.CharField(max_length=255, null=True)),
                ("renewed_at", models.DateTimeField(null=True)),
                ("session_pid", models.IntegerField(null=True)),
                ("session_start", models.DateTimeField(null=True)),
                ("draining", models.BooleanField(default=False)),
                ("settled_by", models.UUIDField(null=True)),
                ("rung_at", models.DateTimeField(null=True)),
                ("rings", models.IntegerField(default=0)),
                ("bell_at", models.DateTimeField(null=True)),
                ("result_type", models.CharField(max_length=32, null=True)),
                ("result", models.BinaryField(null=True)),
                ("error", models.JSONField(null=True)),
                ("questions", models.JSONField(null=True)),
                ("answers_type", models.CharField(max_length=32, null=True)),
                ("answers", models.BinaryField(null=True)),
                (
                    "thread",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="runs",
                        to="holdfast_persistence.thread",
                    ),
                ),
            ],
            options={
                "verbose_name": "run",
                "db_table": "holdfast_run",
                "indexes": [
                    models.Index(
                        condition=models.Q(("status__in", ["queued", "running", "interrupted"])),
                        fields=["thread", "created_at"],
                        name="holdfast_run_unfinished",
                    ),
                    models.Index(
                        condition=models.Q(("status", "queued")),
                        fields=["not_before"],
                        name="holdfast_run_due",
                    ),
                    models.Index(
                        condition=models.Q(("status", "queued")),
                        fields=["bell_at"],
                        name="holdfast_run_bell",
                    ),
                    models.Index(
                        condition=models.Q(
                            ("deadline__isnull", False), ("status__in", ["queued", "running", "interrupted"])
                        ),
                        fields=["deadline"],
                        name="holdfast_run_deadline",
                    ),
                    models.Index(
                        condition=models.Q(("status", "running")), fields=["id"], name="holdfast_run_running"
                    ),
                    models.Index(fields=["thread", "-id"], name="holdfast_run_thread"),
                    models.Index(fields=["graph", "-id"], name="holdfast_run_graph"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("holds_thread", True)),
                        fields=("thread",),
                        name="holdfast_run_holder",
                    )
                ],
            },
        ),
        migrations.RunSQL(CLOCK, "DROP FUNCTION IF EXISTS holdfast_now()"),
        migrations.RunSQL(STORAGE, migrations.RunSQL.noop),
    ]
