"""For a project's own tests: execute a run here and now, without a worker or a broker."""

from __future__ import annotations

from uuid import UUID

from django.db import connections

from holdfast.errors import RunFailedError
from holdfast.persistence import ledger
from holdfast.persistence.connections import lending_django
from holdfast.persistence.ids import parse_run_id
from holdfast.persistence.records import Run

__all__ = ["run_now"]


def run_now(run: Run | UUID | str) -> Run:
    """Execute the run in this process until it ends or asks, and read it again.

    Works under ``TestCase``, where nothing commits: saver, effects, ledger and the queries of sync nodes
    and tasks share the test's own connection, on whatever thread LangGraph executes them. It is one
    connection all the same: nodes that open transactions in parallel, and async nodes that query, want
    ``TransactionTestCase``. A failed run is returned, not raised. Raises RunNotFoundError.
    """
    from holdfast.runner.runs.attend import attend

    run_id = parse_run_id(run.id if isinstance(run, Run) else run)
    connection = connections[ledger.alias()]
    connection.ensure_connection()
    try:
        if connection.in_atomic_block:
            with lending_django(connection):
                attend(run_id)
        else:
            attend(run_id)
    except RunFailedError:
        pass
    return ledger.get(run_id)
