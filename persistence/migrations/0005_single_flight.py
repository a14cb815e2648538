"""The node cache finds its entries by a digest and counts their use; the table of who computes what (P5).

The digest is made in Python, and what a cache holds can be computed again: the migration empties it.
"""

from __future__ import annotations

import django.contrib.postgres.fields
from django.db import migrations, models

# Hits are counted in place: the pages keep room for that (HOT updates).
STORAGE = "ALTER TABLE holdfast_node_cache SET (fillfactor = 85)"
EMPTY = "TRUNCATE holdfast_node_cache"


class Migration(migrations.Migration):
    dependencies = [("holdfast_persistence", "0004_store_view")]
    operations = [
        migrations.RunSQL(EMPTY, migrations.RunSQL.noop),
        migrations.RemoveConstraint(model_name="nodecacheentry", name="holdfast_node_cache_key"),
        migrations.AddField("nodecacheentry", "cost", models.FloatField(null=True)),
        migrations.AddField(
            "nodecacheentry", "digest", models.BinaryField(default=b""), preserve_default=False
        ),
        migrations.AddField("nodecacheentry", "hits", models.BigIntegerField(default=0)),
        migrations.AddField("nodecacheentry", "misses", models.BigIntegerField(default=0)),
        migrations.AddField("nodecacheentry", "saved", models.FloatField(default=0.0)),
        migrations.AddField(
            "nodecacheentry", "slot", models.BigIntegerField(default=0, unique=True), preserve_default=False
        ),
        migrations.AddField("nodecacheentry", "used_at", models.DateTimeField(null=True)),
        migrations.AddField("nodecacheentry", "version", models.TextField(default="")),
        migrations.AlterField("nodecacheentry", "type", models.TextField()),
        migrations.RunSQL(STORAGE, EMPTY),
        migrations.CreateModel(
            name="NodeFlight",
            fields=[
                ("slot", models.BigIntegerField(primary_key=True, serialize=False)),
                (
                    "namespace",
                    django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None),
                ),
                ("key", models.TextField()),
                ("version", models.TextField(default="")),
                ("holder", models.UUIDField()),
                ("run_id", models.UUIDField()),
                ("token", models.UUIDField()),
                ("begun_at", models.DateTimeField()),
                ("renewed_at", models.DateTimeField()),
                (
                    "waits_for",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
            ],
            options={"db_table": "holdfast_node_flight"},
        ),
    ]
