"""Deletes what nobody needs any more, and nothing else (P10, R20).

``prune`` goes through the threads, one short transaction each. It locks the thread's row, and skips
the thread where somebody has it; only then, in a second statement with a fresh snapshot, it looks
whether a run is unfinished or the thread is in use; then it deletes. Of a thread with an unfinished run
only old checkpoints and the rows of earlier runs may go, or a thread that is never idle would grow for ever:
``saver/thinning.py`` tells why no run misses them, though it may be writing at that moment. A process that
is killed on the way loses the one transaction, and the next prune goes on. A thread that a stock saver wrote
gets a row first; as such a writer locks nothing, a thread that was written without a fence within the last
hour is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from holdfast.conf import Retention, settings
from holdfast.errors import InvalidInputError
from holdfast.persistence.connections import connect
from holdfast.persistence.retention.report import Progress, PruneReport
from holdfast.persistence.sql import query

__all__ = ["PruneReport", "prune"]

logger = logging.getLogger("holdfast.retention")


def prune(
    policy: Retention | None = None,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    using: str | None = None,
    cache_versions: Mapping[str, Collection[str]] | None = None,
) -> PruneReport:
    """Delete what the policy (default: ``HOLDFAST["RETENTION"]``) does not keep.

    ``dry_run`` does the same work and rolls every transaction back, so that its numbers are exact
    for each thread. ``progress`` is called with the numbers so far after each transaction that
    deleted something. ``cache_versions`` says by graph under which labels its cached values are looked for now; what
    lies under other labels of these graphs goes too. Safe to run beside itself and beside runs, and to kill.

    Raises InvalidInputError (``field``), psycopg.OperationalError if the database goes away: what was
    deleted until then stays deleted.
    """
    # Here, since a worker imports this package for the end of each run, and prunes once a night.
    from holdfast.persistence.retention.pruning import Pruning

    policy = policy or settings().RETENTION
    _check(policy)
    with connect(using or settings().DATABASE) as connection:
        pruning = Pruning(connection, policy, dry_run, progress)
        pruning.histories()
        pruning.threads()
        if policy.orphans:
            pruning.orphans()
        if policy.cache:
            known = cache_versions or {}
            labels = [label for each in known.values() for label in each]
            pruning.batches(query("retention_delete_cache"), graphs=list(known), labels=labels)
        if policy.store:
            pruning.batches(query("retention_delete_store"))
            pruning.store_elsewhere()
    logger.info("%s", pruning.report)
    return pruning.report


def _check(policy: Retention) -> None:
    for name, lowest in (("max_age", 0), ("run_age", 0), ("keep_last", 1), ("batch", 1)):
        value = getattr(policy, name)
        if value is None and name != "batch":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= lowest:
            raise InvalidInputError(
                f'HOLDFAST["RETENTION"]["{name}"] is {value!r}; it must be a number of at least {lowest}, or None.',
                field=name,
            )
