"""A function for the fences: whether the server has not crashed since, and so has lost no commit (R9)."""

from __future__ import annotations

from django.db import migrations

# NULL: nothing could have been lost, as every commit of the asker waited for the disk.
SAME_ERA = """
CREATE OR REPLACE FUNCTION holdfast_same_era(era timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT era IS NULL OR EXISTS (SELECT FROM holdfast_incarnation WHERE since = era)
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("holdfast_persistence", "0004_repeated_indexes")]

    operations = [migrations.RunSQL(SAME_ERA, "DROP FUNCTION holdfast_same_era(timestamptz)")]
