"""The store's half: every item, with its times where the target's tables are known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from langgraph.store.base import NOT_PROVIDED, BaseStore, Item

from holdfast.errors import TransferError
from holdfast.persistence import ledger
from holdfast.persistence.backends.address import DJANGO, checked
from holdfast.persistence.backends.store import GuardedStore, open_store
from holdfast.persistence.backends.times import Expiry, Times, TimesInPostgreSQL
from holdfast.persistence.connections import pool
from holdfast.persistence.store import DjangoStore
from holdfast.persistence.transfer.report import Progress, Report

PAGE: Final = 100
"""Store items that are read at once."""


def copy_store(source: BaseStore, target: BaseStore, report: Report, progress: Progress) -> None:
    """Copy what the target has not, or has otherwise. Raises TransferError, OutageError."""
    told, kept = _times(source), _times(target)
    report.times = kept is not None
    for item in _items(source):
        expiry = None if told is None else told.read(item.namespace, item.key)
        if _is_there(item, expiry, target, kept):
            report.there += 1
        else:
            report.items += 1
            if not report.dry_run:
                _copy(item, expiry, target, kept)
        progress(report, report.threads)


def _is_there(item: Item, expiry: Expiry | None, target: BaseStore, kept: Times | None) -> bool:
    there = target.get(item.namespace, item.key, refresh_ttl=False)
    if there is None or there.value != item.value:
        return False
    if kept is None:
        return True
    return _made(there) == _made(item) and expiry in (None, kept.read(item.namespace, item.key))


def _copy(item: Item, expiry: Expiry | None, target: BaseStore, kept: Times | None) -> None:
    minutes: Any = NOT_PROVIDED
    if kept is None and target.supports_ttl and expiry is not None:
        minutes = None
        if expiry.expires_at is not None:  # a little time is left, or the source would not have shown it
            minutes = max((expiry.expires_at - datetime.now(UTC)).total_seconds() / 60, 1.0)
    target.put(item.namespace, item.key, item.value, ttl=minutes)
    if kept is not None:
        kept.write(item.namespace, item.key, *_made(item), expiry)
    if not _is_there(item, expiry, target, kept):
        raise TransferError(
            f"The store's item {'/'.join(item.namespace)} {item.key!r} was written and read back otherwise.",
            place="/".join(item.namespace),
        )


def _made(item: Item) -> tuple[datetime, datetime]:
    """When it was made and changed; SQLite's times name no zone, and mean UTC."""
    created, updated = (
        at if at.tzinfo is not None else at.replace(tzinfo=UTC) for at in (item.created_at, item.updated_at)
    )
    return created, updated


def _items(store: BaseStore) -> Iterator[Item]:
    offset = 0
    while found := store.search((), limit=PAGE, offset=offset, refresh_ttl=False):
        yield from found
        offset += len(found)


def _times(store: BaseStore) -> Times | None:
    if isinstance(store, GuardedStore):
        return store.times
    return TimesInPostgreSQL(lambda: pool(ledger.alias()).connection())


def open_either(address: str) -> BaseStore:
    """The store of the address, Django's own among them. Raises ConfigurationError, OutageError."""
    return DjangoStore() if checked(address, "STORE") == DJANGO else open_store(address)
