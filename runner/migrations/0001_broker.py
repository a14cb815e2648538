"""The tables of the broker on PostgreSQL: the same schema.sql that the transport runs without Django."""

from django.db import migrations

from holdfast.runner.broker.sql import schema

REVERSE = """
DROP TABLE IF EXISTS holdfast_broker_binding, holdfast_broker_queue, holdfast_broker_message,
                     holdfast_broker_incarnation;
DROP FUNCTION IF EXISTS holdfast_broker_channel(text);
"""


class Migration(migrations.Migration):
    dependencies = []
    operations = [migrations.RunSQL(schema(), REVERSE)]
