"""Every named statement is one that PostgreSQL understands on the migrated tables."""

from __future__ import annotations

import psycopg
import pytest
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer

from holdfast.persistence import sql as persistence
from holdfast.persistence.connections import connect
from holdfast.persistence.store import statements as store
from holdfast.runner.broker import sql as broker

# A parameter that stands only where any type would do is given its type by the value that is sent.
_UNTYPED = "42P18"

ALL: dict[str, str | bytes] = {
    **persistence.statements(),
    **broker.statements(),
    **{name: store.plain(name) for name in ("store_get", "store_search", "store_put")},
}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [pytest.param(statement, id=name) for name, statement in sorted(ALL.items())],
)
def test_postgresql_understands(statement: str | bytes) -> None:
    with connect("default") as connection:
        parsed = PostgresQuery(Transformer(connection))
        parsed.convert(statement, _Anything())
        answer = connection.pgconn.prepare(b"", parsed.query)
        if answer.status == psycopg.pq.ExecStatus.FATAL_ERROR:
            state = (answer.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b"").decode()
            assert state == _UNTYPED, answer.error_message.decode()


class _Anything(dict[str, str]):
    """Has every parameter, and none of them a type."""

    def __missing__(self, name: str) -> None:
        return None

    def __contains__(self, name: object) -> bool:
        return True
