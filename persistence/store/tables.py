"""Makes sure that the tables of a store's index are there, before it is used; made once, under a lock.

They are made at the first use of a store that has an index, and never otherwise; a role that may not is told who may,
and how. What is there is never changed: an index of another kind only means that a search looks at every
vector.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import errors as pg

from holdfast.conf import settings
from holdfast.errors import ConfigurationError, VectorsUnavailableError
from holdfast.persistence.connections import Connection, Pool, aexecuting, pool, retrying
from holdfast.persistence.sql import query
from holdfast.persistence.store.index import Index, lock_and_record

logger = logging.getLogger("holdfast.store")

_REFUSED: Final = (
    pg.InsufficientPrivilege,
    pg.FeatureNotSupported,
    pg.UndefinedFile,
    pg.ReadOnlySqlTransaction,
)
_MEND: Final = "A database administrator can do it: holdfast store-index --sql prints the statements."


class Look(NamedTuple):
    """What there is in the database; None each where it is not there."""

    extension: str | None
    type: str | None
    dims: int | None
    method: str | None
    operators: str | None


class Tables:
    """Those of one index; remembers where they have been found. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._found: tuple[Pool, str] | None = None

    def version(self, alias: str) -> str:
        """The version of pgvector, once all is there. Raises VectorsUnavailableError, DatabaseUnreachableError."""
        if (known := self._known(alias)) is not None:
            return known
        if self.look(alias).dims is None:
            self.make(alias)
        return self._remember(alias, self.look(alias))

    async def aversion(self, alias: str) -> str:
        """As ``version``; what has to be made, once, is made on a thread."""
        if (known := self._known(alias)) is not None:
            return known
        cursor = await aexecuting(alias, query("store_vectors_look"))
        look = Look(*cursor.fetchall()[0])
        if look.dims is None:
            return await asyncio.to_thread(self.version, alias)
        return self._remember(alias, look)

    def look(self, alias: str) -> Look:
        """What is there."""
        return retrying(alias, _look)

    def make(self, alias: str) -> None:
        """Make what is missing: extension, table, index. Raises VectorsUnavailableError."""

        def work(connection: Connection) -> None:
            with connection.transaction():
                cursor = psycopg.Cursor(connection)
                cursor.execute(lock_and_record()[0])
                if _look(connection).dims is not None:
                    return  # another process was first
                cursor.execute(lock_and_record()[1])
                for statements in self._index.steps().values():
                    for statement in statements:
                        cursor.execute(statement)

        try:
            retrying(alias, work)
        except _REFUSED as error:
            raise VectorsUnavailableError(
                f"The store's index needs pgvector in the database {alias!r}: {str(error).strip()}. {_MEND}",
                alias=alias,
                setting="STORE_INDEX",
            ) from error

    def sql(self) -> str:
        """The statements that make all of it, for a person; the index without locking the table."""
        steps = self._index.steps(concurrently=True).values()
        statements = [lock_and_record()[1].encode(), *(each for step in steps for each in step)]
        return "\n\n".join(each.decode().strip().rstrip(";") + ";" for each in statements) + "\n"

    def _known(self, alias: str) -> str | None:
        found = self._found
        return found[1] if found is not None and found[0] is pool(alias) else None

    def _remember(self, alias: str, look: Look) -> str:
        index = self._index
        if (look.type, look.dims) != (index.type, index.dims):
            raise VectorsUnavailableError(
                f"The table store_vectors in {alias!r} has {look.type}({look.dims}), and the store's index is "
                f"{index.type}({index.dims}). Configure what is there, or drop store_vectors and "
                "vector_migrations, and store the items again.",
                alias=alias,
                setting="STORE_INDEX",
            )
        wanted = None if index.kind == "flat" else (index.kind, index.operators)
        if wanted is not None and (look.method, look.operators) != wanted:
            logger.warning(
                "store_vectors in %r has no index of the kind %s with %s: searches look at every vector",
                alias,
                *wanted,
            )
        version = look.extension or ""
        self._found = (pool(alias), version)
        return version


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a store with an index needs for it."""

    index: Index
    tables: Tables


_last: tuple[Mapping[str, Any], Meaning] | None = None


def meaning(config: Mapping[str, Any] | None) -> Meaning | None:
    """That of a configuration, and the same again for the same dict, so that its model is loaded once.

    Raises ConfigurationError.
    """
    global _last
    if not config:
        return None
    last = _last
    if last is None or last[0] is not config:
        index = Index(config)
        _last = last = (config, Meaning(index, Tables(index)))
    return last[1]


def check_vectors_may_be_read() -> None:
    """Raises ConfigurationError where items are encrypted, and nobody has said that their vectors need not be."""
    encryption = settings().ENCRYPTION
    if encryption.active is not None and not encryption.readable_vectors:
        raise ConfigurationError(
            'HOLDFAST["ENCRYPTION"] encrypts the store\'s items, and an index keeps vectors that tell much of their '
            'texts and cannot be encrypted. Do without the index, or accept it: "readable_vectors": True in '
            'HOLDFAST["ENCRYPTION"].',
            setting="ENCRYPTION",
        )


def _look(connection: Connection) -> Look:
    rows = psycopg.Cursor(connection).execute(query("store_vectors_look")).fetchall()
    return Look(*rows[0])
