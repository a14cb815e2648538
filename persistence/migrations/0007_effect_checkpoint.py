"""The checkpoint under which an effect was begun, so that no clock decides whether it is still pending (P4)."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("holdfast_persistence", "0006_repeated_indexes")]

    operations = [
        migrations.AddField(
            model_name="effect",
            name="checkpoint_id",
            field=models.TextField(null=True),
        ),
    ]
