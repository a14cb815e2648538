"""How many of a run's checkpoints stay when it ends, and whether that has been seen to."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("holdfast_persistence", "0008_type_tags")]

    operations = [
        migrations.AddField("runrow", "history", models.SmallIntegerField(null=True)),
        migrations.AddField("runrow", "thin_at", models.DateTimeField(null=True)),
        migrations.AddIndex(
            "runrow",
            models.Index(
                condition=models.Q(status__in=["succeeded", "failed", "cancelled"], thin_at__isnull=False),
                fields=["thin_at"],
                name="holdfast_run_thin",
            ),
        ),
    ]
