"""What pytest-django calls after each test whose rows were committed."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import flush
from django.db import connections

from tests.emptying import empty


class Command(flush.Command):
    """Takes the place of Django's own; for this suite's way of calling it only.

    The content types and permissions, which Django deletes and makes anew, stay: they follow from the models alone.
    """

    def handle(self, **options: Any) -> None:
        """Empty one database."""
        assert not options["interactive"]
        assert not options["reset_sequences"]
        connection = connections[options["database"]]
        connection.ensure_connection()
        empty(connection.connection)
