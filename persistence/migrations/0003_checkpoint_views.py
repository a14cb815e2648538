"""Views of upstream's checkpoint tables with a key of one column, for Django's admin.

The views name each column, so that a column that upstream adds changes nothing here. Metadata is
untrusted text: a step that is no number becomes NULL and breaks no list.
"""

from __future__ import annotations

from django.db import migrations, models

VIEWS = """
CREATE VIEW holdfast_checkpoint_view AS
SELECT jsonb_build_array(c.thread_id, c.checkpoint_ns, c.checkpoint_id)::text AS key,
       c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,
       c.checkpoint ->> 'ts' AS ts,
       CASE WHEN c.metadata ->> 'step' ~ '^-?[0-9]{1,9}$' THEN (c.metadata ->> 'step')::integer END AS step,
       c.metadata ->> 'source' AS source,
       pg_column_size(c.checkpoint) + pg_column_size(c.metadata) + coalesce((
           SELECT sum(octet_length(b.blob))
           FROM jsonb_each_text(CASE jsonb_typeof(c.checkpoint -> 'channel_versions')
                                WHEN 'object' THEN c.checkpoint -> 'channel_versions' END) v
           JOIN checkpoint_blobs b
             ON b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns
            AND b.channel = v.key AND b.version = v.value), 0) AS size,
       c.metadata, c.checkpoint
FROM checkpoints c;

CREATE VIEW holdfast_checkpoint_channel_view AS
SELECT jsonb_build_array(c.thread_id, c.checkpoint_ns, c.checkpoint_id, v.key)::text AS key,
       c.thread_id, c.checkpoint_ns, c.checkpoint_id,
       b.channel, b.version, b.type, coalesce(octet_length(b.blob), 0) AS size, b.blob
FROM checkpoints c
CROSS JOIN LATERAL jsonb_each_text(CASE jsonb_typeof(c.checkpoint -> 'channel_versions')
                                   WHEN 'object' THEN c.checkpoint -> 'channel_versions' END) v
JOIN checkpoint_blobs b
  ON b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns
 AND b.channel = v.key AND b.version = v.value;

CREATE VIEW holdfast_checkpoint_write_view AS
SELECT jsonb_build_array(w.thread_id, w.checkpoint_ns, w.checkpoint_id, w.task_id, w.idx)::text AS key,
       w.thread_id, w.checkpoint_ns, w.checkpoint_id, w.task_path, w.task_id, w.idx, w.channel,
       w.type, octet_length(w.blob) AS size, w.blob
FROM checkpoint_writes w;
"""

NO_VIEWS = """
DROP VIEW IF EXISTS holdfast_checkpoint_write_view;
DROP VIEW IF EXISTS holdfast_checkpoint_channel_view;
DROP VIEW IF EXISTS holdfast_checkpoint_view;
"""


class Migration(migrations.Migration):
    dependencies = [("holdfast_persistence", "0002_runs_effects_cache")]
    operations = [
        migrations.RunSQL(VIEWS, NO_VIEWS),
        migrations.CreateModel(
            name="CheckpointView",
            fields=[
                ("key", models.TextField(primary_key=True, serialize=False)),
                ("thread_id", models.TextField(verbose_name="thread")),
                ("checkpoint_ns", models.TextField(verbose_name="namespace")),
                ("checkpoint_id", models.TextField(verbose_name="checkpoint")),
                ("parent_checkpoint_id", models.TextField(null=True, verbose_name="parent")),
                ("ts", models.TextField(null=True, verbose_name="written")),
                ("step", models.IntegerField(null=True)),
                ("source", models.TextField(null=True)),
                ("size", models.BigIntegerField(verbose_name="bytes")),
                ("metadata", models.JSONField()),
                ("checkpoint", models.JSONField()),
            ],
            options={
                "verbose_name": "checkpoint",
                "db_table": "holdfast_checkpoint_view",
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="CheckpointChannelView",
            fields=[
                ("key", models.TextField(primary_key=True, serialize=False)),
                ("thread_id", models.TextField()),
                ("checkpoint_ns", models.TextField()),
                ("checkpoint_id", models.TextField()),
                ("channel", models.TextField()),
                ("version", models.TextField()),
                ("type", models.TextField()),
                ("size", models.BigIntegerField()),
                ("blob", models.BinaryField(null=True)),
            ],
            options={
                "db_table": "holdfast_checkpoint_channel_view",
                "managed": False,
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="CheckpointWriteView",
            fields=[
                ("key", models.TextField(primary_key=True, serialize=False)),
                ("thread_id", models.TextField()),
                ("checkpoint_ns", models.TextField()),
                ("checkpoint_id", models.TextField()),
                ("task_path", models.TextField()),
                ("task_id", models.TextField()),
                ("idx", models.IntegerField()),
                ("channel", models.TextField()),
                ("type", models.TextField(null=True)),
                ("size", models.BigIntegerField()),
                ("blob", models.BinaryField()),
            ],
            options={
                "db_table": "holdfast_checkpoint_write_view",
                "managed": False,
                "default_permissions": (),
            },
        ),
    ]
