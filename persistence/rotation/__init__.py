"""Brings what is stored under the active key: ``holdfast rotate-keys``, beside runs and workers.

Whatever is stored under another key, or in the clear, is opened and sealed under the active one; without an
active key all is brought into the clear, which leads back to a stock ``PostgresSaver``. It goes through the tables
in the order of their keys, a batch of rows a transaction: the rows are locked as far as nobody else has them, read,
and written. What somebody else had is looked at again in a later pass. It never waits for a row, and keeps no
notes: what is done is not found again, so that it can be stopped at any moment, killed, run twice at once, and
continued.

Not rewritten are hashes: the ``request_hash`` of a run and the ``arguments_hash`` of an effect that was stored
without a key stays a plain SHA-256 until retention deletes it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from holdfast.conf import settings
from holdfast.errors import HoldfastError
from holdfast.persistence.connections import Connection, connect
from holdfast.persistence.encryption import Keyring, keyring
from holdfast.persistence.rotation.statements import template
from holdfast.persistence.rotation.tables import TABLES, Table
from holdfast.persistence.saver.metadata import READABLE
from holdfast.persistence.sql import query

logger = logging.getLogger("holdfast.rotation")

BATCH: Final = 500
"""Rows of one transaction, at most."""
BATCH_BYTES: Final = 4 * 1024 * 1024
"""Bytes of one transaction's values, about; a single larger value is a transaction of its own."""
PASSES: Final = 10
"""How often what somebody else had is looked at again."""
PAUSE: Final = 0.5  # seconds between two passes
LOCK_TIMEOUT: Final = "500ms"
"""Less than PostgreSQL's deadlock_timeout: whoever else is involved never pays for it."""
SHOWN: Final = 20
"""Failures that are told one by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A row that could not be opened, and was left as it is."""

    table: str
    row: str
    reason: str


@dataclass(kw_only=True, slots=True)
class Report:
    """What a rotation has done so far."""

    active: str | None
    """The key that values were brought under; None: into the clear."""
    total: int = 0
    """Rows that were to be rewritten when it began."""
    rewritten: dict[str, int] = field(default_factory=lambda: {table.name: 0 for table in TABLES})
    """Rows, by table."""
    busy: int = 0
    """Rows that somebody else had until the last pass; the next rotation finds them."""
    failed: int = 0
    """Rows that could not be opened."""
    failures: list[Failure] = field(default_factory=list)
    """The first of them."""

    @property
    def done(self) -> int:
        """Rows that have been rewritten."""
        return sum(self.rewritten.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """How many values of one column are stored under one key."""

    column: str
    key: str | None
    """The key's id; None: in the clear."""
    values: int


Progress = Callable[[Report], None]


def rotate(
    *, batch: int = BATCH, progress: Progress | None = None, pause: float = 0.0, using: str | None = None
) -> Report:
    """Rewrite all that is not stored under the active key; ``progress`` is called after each transaction.

    ``pause``: seconds to leave the database alone between two transactions. Raises ConfigurationError,
    psycopg.OperationalError if the database goes away: what was rewritten until then stays so.
    """
    ring = keyring()
    report = Report(active=ring.active)
    with connect(using or settings().DATABASE) as connection:
        rotation = _Rotation(connection, ring, report, batch, progress or (lambda report: None), pause)
        report.total = sum(rotation.count(table) for table in TABLES)
        rotation.progress(report)
        for attempt in range(PASSES):
            before, report.busy, report.failed = report.done, 0, 0
            report.failures.clear()
            for table in TABLES:
                rotation.table(table)
            if not report.busy:
                break
            if attempt + 1 < PASSES and report.done == before:
                time.sleep(PAUSE)  # whoever has the rows needs time for what they do with them
    logger.info("rotated to %s: %d rows, %d failed", ring.active or "the clear", report.done, report.failed)
    return report


def census(using: str | None = None) -> list[Held]:
    """How many values are stored under which key, by column. Reads all tables once."""
    with connect(using or settings().DATABASE) as connection:
        rows = connection.execute(query("rotation_census"), {"readable": list(READABLE)}).fetchall()
    return [Held(column=column, key=key or None, values=values) for column, key, values in rows]


class _Rotation:
    """One rotation on its connection."""

    def __init__(
        self,
        connection: Connection,
        ring: Keyring,
        report: Report,
        batch: int,
        progress: Progress,
        pause: float,
    ) -> None:
        self.connection, self.ring, self.report = connection, ring, report
        self.batch, self.progress, self.pause = batch, progress, pause
        self.wanted: dict[str, Any] = {"suffix": ring.suffix, "readable": list(READABLE)}

    def count(self, table: Table) -> int:
        row = self.connection.execute(template("rotation_count", table), self.wanted).fetchone()
        return int(row[0]) if row else 0

    def table(self, table: Table) -> None:
        for page in self._pages(table):
            try:
                self._rewrite(table, page)
            except psycopg.errors.LockNotAvailable:
                self.report.busy += len(page)  # a value that is being stored under the same name
            self.progress(self.report)
            if self.pause:
                time.sleep(self.pause)  # the operator's wish

    def _pages(self, table: Table) -> Iterator[list[tuple[Any, ...]]]:
        """Keys of rows to be rewritten, as many as make a batch."""
        after: tuple[Any, ...] | None = None
        while True:
            last = {
                f"after_{name}": None if after is None else value
                for name, value in zip(table.key, after or (None,) * len(table.key), strict=True)
            }
            rows = self.connection.execute(
                template("rotation_keys", table),
                self.wanted | last | {"first": after is None, "rows": self.batch},
            ).fetchall()
            if not rows:
                return
            page: list[tuple[Any, ...]] = []
            size = 0
            for *key, weight in rows:
                if page and size + weight > BATCH_BYTES:
                    break
                page.append(tuple(key))
                size += weight
            after = page[-1]
            yield page

    def _rewrite(self, table: Table, page: list[tuple[Any, ...]]) -> None:
        keys = {
            f"key_{name}": list(each) for name, each in zip(table.key, zip(*page, strict=True), strict=True)
        }
        with self.connection.transaction():
            self.connection.execute(query("rotation_lock_timeout"), {"limit": LOCK_TIMEOUT})
            with self.connection.cursor(row_factory=dict_row) as cursor:
                rows = cursor.execute(template("rotation_lock", table), keys).fetchall()
            changed = [row for row in rows if self._change(table, row)]
            if changed:
                if table.before is not None:
                    table.before(self.connection, changed, self.ring)
                self.connection.execute(
                    template("rotation_write", table),
                    {f"key_{name}": [row[name] for row in changed] for name in table.key}
                    | {f"new_{name}": [table.stored(name, row) for row in changed] for name in table.parts},
                )
        self.report.rewritten[table.name] += len(changed)
        self.report.busy += len(page) - len(rows)

    def _change(self, table: Table, row: dict[str, Any]) -> bool:
        try:
            return table.change(row, self.ring)
        except HoldfastError as error:
            self.report.failed += 1
            if len(self.report.failures) < SHOWN:
                name = " ".join(str(row[each]) for each in table.key)
                self.report.failures.append(Failure(table=table.name, row=name, reason=error.message))
            return False
