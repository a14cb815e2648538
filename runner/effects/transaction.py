"""Executes the body of a transactional effect: its rows and its ledger row commit together (P4).

Inside the transaction the body comes first; fence and ledger row are its last statement, so that a
process frozen in the body holds no lock on the run (R11). A connection that dies is no failure of
the node: the ledger says whether the transaction was committed, and if it was not, the body, whose
rows are gone, runs again (R3). A session ended for idling (25P03) is the node's failure, else it
would repeat for ever.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from holdfast.conf import settings
from holdfast.errors import DatabaseUnreachableError, EffectRefusedError, IdleInTransactionError
from holdfast.faults import point
from holdfast.persistence import effects as ledger
from holdfast.persistence.connections import Patience, has_idled, is_lent
from holdfast.runner.effects.identity import CallSite, CurrentEffect, enclosing_effect, executing
from holdfast.runner.effects.steps import dumps, loads
from holdfast.runner.runs.attempt import Attempt

logger = logging.getLogger("holdfast.effects")


class _AlreadyRecordedError(Exception):
    """Rolls back a second execution of what another transaction has recorded."""


def transactional(site: CallSite, attempt: Attempt, effect: CurrentEffect, body: Callable[[], Any]) -> Any:
    """Execute the body exactly once, or return what is recorded of it.

    Raises what the body raises, EffectRefusedError, EffectMismatchError, IdleInTransactionError,
    LeaseLostError, NotSerializableError; DatabaseUnreachableError after LEASE seconds of trying.
    """
    connection = connections[attempt.alias]
    _refuse_if_nested(connection, site)
    fresh = connection.connection is None
    patience = Patience()
    used: list[Any] = []
    try:
        while True:
            record = ledger.find(attempt.alias, site.call.key)
            if record is not None:
                record.check(site.call)
                return loads(site, record)
            try:
                used.clear()
                return _execute(connection, site, attempt, effect, body, used)
            except _AlreadyRecordedError:
                continue
            except Exception as error:  # the body may wrap its error: the session tells what it is
                if not _session_died(error, used):
                    raise
                connection.close()
                if has_idled(error):
                    raise _idled_error(site) from error
                logger.warning("%s: %s; looking in the ledger", site.call.function, str(error).strip())
                if not patience.wait():
                    raise DatabaseUnreachableError(
                        f"{site.call.function}: the database {attempt.alias!r} broke its transaction again and "
                        f"again for {patience.seconds:g} s: {str(error).strip()}",
                        alias=attempt.alias,
                    ) from error
    finally:
        if fresh and threading.current_thread() is not threading.main_thread():
            connection.close()  # the threads of nodes come and go; nobody else would close it


def _execute(
    connection: BaseDatabaseWrapper,
    site: CallSite,
    attempt: Attempt,
    effect: CurrentEffect,
    body: Callable[[], Any],
    used: list[Any],
) -> Any:
    lent = is_lent(connection)
    with transaction.atomic(using=attempt.alias, durable=not lent):
        # Django connects anew on its way out of atomic(), so the session in use is kept for the caller.
        used.append(connection.connection)
        if not lent:  # a test's own transaction has begun long ago
            with connection.cursor() as cursor:
                ledger.open_transaction(cursor, settings().IDLE_IN_TRANSACTION)
        with executing(effect):
            value = body()
        point("effect-after-body")
        type_, data = dumps(site, value)
        with connection.cursor() as cursor:
            if not ledger.record_in_transaction(cursor, attempt.fence, site.call, type_, data):
                raise _AlreadyRecordedError
        point("effect-in-transaction")
    point("effect-after-commit")
    return value


def _session_died(error: Exception, used: list[Any]) -> bool:
    """Whether the connection is to blame: the one in use is closed, or none could be had."""
    return used[0].closed if used else isinstance(error, DatabaseError | InterfaceError)


def _refuse_if_nested(connection: BaseDatabaseWrapper, site: CallSite) -> None:
    outer = enclosing_effect()
    if outer is not None and outer.kind == "transactional":
        reason = (
            f"it is called from the transactional effect {outer.function}, whose transaction may roll back"
        )
    elif is_lent(connection):
        return
    elif connection.in_atomic_block or not connection.settings_dict.get("AUTOCOMMIT", True):
        reason = f"a transaction of the database {connection.alias!r} is open already, and may roll back"
    else:
        return
    raise EffectRefusedError(
        f"The transactional effect {site.call.function} cannot be executed here: {reason}.",
        function=site.call.function,
    )


def _idled_error(site: CallSite) -> IdleInTransactionError:
    limit = settings().IDLE_IN_TRANSACTION
    return IdleInTransactionError(
        f"The body of the transactional effect {site.call.function} left its transaction idle for more than "
        f'{limit:g} s, and the database ended it (HOLDFAST["IDLE_IN_TRANSACTION"]). Do slow work, such as calls of '
        "other services, before the effect, in a task or node of its own.",
        function=site.call.function,
        setting="IDLE_IN_TRANSACTION",
    )
