"""The statements of a rotation: templates in ``rotation.sql`` with the names of one table, which are constants."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import LiteralString

from psycopg import sql

from holdfast.persistence.rotation.tables import Table
from holdfast.sql import named_statements

_made: dict[tuple[str, str], bytes] = {}


def template(name: str, table: Table) -> bytes:
    """The statement of that name for that table."""
    key = (name, table.name)
    if key not in _made:
        _made[key] = _filled(name, table)
    return _made[key]


def _filled(name: str, table: Table) -> bytes:
    comma = sql.SQL(", ")
    key = [sql.Identifier(each) for each in table.key]
    return (
        sql.SQL(_templates()[name])
        .format(
            table=sql.Identifier(table.name),
            key=comma.join(key),
            key_of_t=comma.join(sql.Identifier("t", each) for each in table.key),
            key_of_n=comma.join(sql.Identifier("n", each) for each in table.key),
            after=comma.join(
                sql.SQL("{}::{}").format(sql.Placeholder(f"after_{name}"), sql.SQL(_word(kind)))
                for name, kind in table.key.items()
            ),
            keys=comma.join(
                sql.SQL("{}::{}[]").format(sql.Placeholder(f"key_{name}"), sql.SQL(_word(kind)))
                for name, kind in table.key.items()
            ),
            size=sql.Identifier("t", table.size),
            read=comma.join(_read(name) for name in (*table.parts, *table.also)),
            parts=comma.join(sql.Identifier(each) for each in table.parts),
            values=comma.join(
                sql.SQL("{}::{}[]").format(
                    sql.Placeholder(f"new_{name}"), sql.SQL("bytea" if kind == "bytea" else "text")
                )
                for name, kind in table.parts.items()
            ),
            changes=comma.join(
                sql.SQL("{} = {}::{}").format(
                    sql.Identifier(name), sql.Identifier("n", name), sql.SQL(_word(kind))
                )
                for name, kind in table.parts.items()
            ),
            needed=sql.SQL(_templates()[f"needed_{table.name}"].rstrip(";")),
        )
        .as_bytes(None)
    )


def _read(name: str) -> sql.Composable:
    """A column, or what stands under its name in the templates."""
    if name == "stored":
        return sql.SQL(_templates()["stored_checkpoints"].rstrip(";"))
    return sql.Identifier("t", name)


def _word(kind: str) -> LiteralString:
    """The name of a type, as a constant."""
    return _TYPES[kind]


_TYPES: dict[str, LiteralString] = {
    "text": "text",
    "int": "int",
    "bigint": "bigint",
    "uuid": "uuid",
    "bytea": "bytea",
    "jsonb": "jsonb",
}


@cache
def _templates() -> dict[str, LiteralString]:
    return named_statements(files("holdfast.persistence").joinpath("rotation", "rotation.sql"))
