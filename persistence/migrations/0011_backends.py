"""Where a thread's checkpoints are, if elsewhere, and how often a run has written there (R12)."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("holdfast_persistence", "0010_lz4")]

    operations = [
        migrations.AddField("thread", "backend", models.TextField(null=True)),
        migrations.AddField("entry", "progress", models.IntegerField(db_default=0)),
    ]
