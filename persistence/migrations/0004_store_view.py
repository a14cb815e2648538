"""A view of upstream's store table with a key of one column, for Django's admin.

It names each column that it needs, so that one that upstream adds changes nothing here.
"""

from __future__ import annotations

from django.db import migrations, models

VIEW = """
CREATE VIEW holdfast_store_view AS
SELECT jsonb_build_array(s.prefix, s.key)::text AS id, s.prefix, s.key,
       s.created_at, s.updated_at, s.expires_at, pg_column_size(s.value) AS size, s.value
FROM store s;
"""


class Migration(migrations.Migration):
    dependencies = [("holdfast_persistence", "0003_checkpoint_views")]
    operations = [
        migrations.RunSQL(VIEW, "DROP VIEW IF EXISTS holdfast_store_view"),
        migrations.CreateModel(
            name="StoreItemView",
            fields=[
                ("id", models.TextField(primary_key=True, serialize=False)),
                ("prefix", models.TextField(verbose_name="namespace")),
                ("key", models.TextField()),
                ("created_at", models.DateTimeField(null=True, verbose_name="created")),
                ("updated_at", models.DateTimeField(null=True, verbose_name="updated")),
                ("expires_at", models.DateTimeField(null=True, verbose_name="expires")),
                ("size", models.BigIntegerField(verbose_name="bytes")),
                ("value", models.JSONField()),
            ],
            options={
                "verbose_name": "store item",
                "db_table": "holdfast_store_view",
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
    ]
