"""Publishing through Django's own connection of an alias in the calling thread.

So a web process opens no connection for the broker, and a message that is sent inside an atomic
block exists if and only if the block commits. Consumes nothing; imports Django when called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from holdfast.runner.broker.address import Address
from holdfast.runner.broker.errors import BrokerConnectionError, BrokerSchemaError
from holdfast.runner.broker.outgoing import Outgoing, publishing
from holdfast.runner.broker.sql import query


def in_transaction(address: Address) -> bool:
    """Whether the calling thread has a transaction open on the alias."""
    connection = address.django()
    return connection.in_atomic_block or (connection.connection is not None and not connection.autocommit)


def on_commit(address: Address, action: Callable[[], None]) -> None:
    """Do that after the transaction has committed; not at all if it does not."""
    connection = address.django()
    if connection.in_atomic_block:
        connection.on_commit(action, robust=True)


def publish(address: Address, messages: list[Outgoing]) -> None:
    """Put messages in their queues, all or none. Raises BrokerConnectionError, BrokerSchemaError."""
    from holdfast.persistence.connections import Statement, run_together

    assert address.alias is not None
    with _told(address):
        run_together(address.alias, Statement(*publishing(messages)))


def rows(address: Address, name: str, parameters: dict[str, Any] | None) -> list[tuple[Any, ...]]:
    """Run a named statement and return its rows. Raises BrokerConnectionError, BrokerSchemaError."""
    with _cursor(address) as cursor:
        cursor.execute(query(name), parameters)
        return cursor.fetchall() if cursor.description else []


def count(address: Address, name: str, parameters: dict[str, Any] | None) -> int:
    """Run a named statement and return the number of rows that it touched."""
    with _cursor(address) as cursor:
        cursor.execute(query(name), parameters)
        return int(cursor.rowcount)


@contextmanager
def _cursor(address: Address) -> Iterator[Any]:
    with _told(address), address.django().cursor() as cursor:
        yield cursor


@contextmanager
def _told(address: Address) -> Iterator[None]:
    from django.db import InterfaceError, OperationalError, ProgrammingError

    connection = address.django()
    alone = not in_transaction(address)
    if alone and connection.errors_occurred and not connection.is_usable():
        connection.close()
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if alone:
            connection.close()  # the next attempt opens a new one
        raise BrokerConnectionError(str(error).strip()) from error
    except ProgrammingError as error:
        if isinstance(error.__cause__, (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction)):
            raise BrokerSchemaError(
                f"The database {address.alias!r} lacks the broker's tables: run manage.py migrate."
            ) from error
        raise
