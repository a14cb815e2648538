"""Keys for the tests of encryption, and what of a word stands in the clear anywhere in the database."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.db import connection

from tests.extras import extra

KEYS = {name: base64.b64encode(bytes([number]) * 32).decode() for number, name in enumerate("abc", 1)}


def encryption(active: str | None, *known: str) -> dict[str, Any]:
    """The setting with that active key, knowing all keys or those named."""
    return {"ENCRYPTION": {"keys": {name: KEYS[name] for name in known or KEYS}, "active": active}}


def tables() -> list[str]:
    """Every table of ours and upstream's."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            " AND relname ~ '^(holdfast_|checkpoint|store)' ORDER BY 1"
        )
        return [str(name) for (name,) in cursor.fetchall()]


@pytest.fixture(params=[None, "a"], ids=["clear", "encrypted"])
def either_way(request: pytest.FixtureRequest, settings: Any) -> None:
    """The test with values in the clear, and with all of them encrypted."""
    if request.param:
        extra("cryptography")
        settings.HOLDFAST = {**settings.HOLDFAST, **encryption(request.param)}


def in_the_clear(word: str) -> dict[str, int]:
    """How many rows of each table hold the word, as text or as bytes."""
    found: dict[str, int] = {}
    for table in tables():
        with connection.cursor() as cursor:
            # A bytea shows as hexadecimal digits in a row's text.
            cursor.execute(
                f"SELECT count(*) FROM {table} t WHERE t::text ILIKE %s OR t::text ILIKE %s",
                [f"%{word}%", f"%{word.encode().hex()}%"],
            )
            if count := cursor.fetchone()[0]:
                found[table] = count
    return found


def sealed_under() -> dict[str, int]:
    """How many rows name each key, over all tables."""
    found: dict[str, int] = {}
    for name in KEYS:
        for table in tables():
            with connection.cursor() as cursor:
                cursor.execute(
                    f"SELECT count(*) FROM {table} t WHERE t::text LIKE %s",
                    [f"%+xaes256gcm:{name}%"],
                )
                found[name] = found.get(name, 0) + cursor.fetchone()[0]
    return {name: count for name, count in found.items() if count}
