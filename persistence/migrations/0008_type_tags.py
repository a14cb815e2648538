"""Room for the key's id in type columns: ``msgpack+xaes256gcm:2026-11``. Rewrites no table."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("holdfast_persistence", "0007_effect_checkpoint"),
    ]

    operations = [
        migrations.AlterField(
            model_name="effect",
            name="result_type",
            field=models.CharField(max_length=100, null=True),
        ),
        migrations.AlterField(
            model_name="runrow",
            name="answers_type",
            field=models.CharField(max_length=100, null=True),
        ),
        migrations.AlterField(
            model_name="runrow",
            name="context_type",
            field=models.CharField(default="null", max_length=100),
        ),
        migrations.AlterField(
            model_name="runrow",
            name="input_type",
            field=models.CharField(max_length=100),
        ),
        migrations.AlterField(
            model_name="runrow",
            name="result_type",
            field=models.CharField(max_length=100, null=True),
        ),
    ]
