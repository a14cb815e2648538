"""A run without input goes on from where its thread stands: a fork, or a state that was updated (R5).

Looks and changes nothing. Where somebody else moves the thread before the run's turn comes, the run finds nothing
to do, executes nothing, and ends with the thread's values.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from holdfast.errors import InvalidInputError, RunNotFoundError
from holdfast.graphs.spec import GraphSpec
from holdfast.persistence import ledger
from holdfast.persistence.ids import ThreadId, parse_run_id
from holdfast.persistence.models.runs import RunStatus
from holdfast.persistence.records import Run
from holdfast.runner.runs import thread

_INSTEAD: Final = {
    RunStatus.FAILED: "retry it",
    RunStatus.CANCELLED: "retry it",
    RunStatus.INTERRUPTED: "answer it",
}


def check(spec: GraphSpec, thread_id: ThreadId) -> None:
    """Raise InvalidInputError unless something comes next on the thread that no run of its own is to do."""
    if not ledger.has_state(thread_id):
        spec.check_input(None)  # which nothing starts from
    snapshot = thread.of_graph(spec, thread_id)
    if not snapshot.next:
        why = "nothing comes next on its thread; to begin anew there send {} or values"
    elif (run := _author(thread_id, (snapshot.metadata or {}).get("run_id"))) is not None:
        why = f"run {run.id} stands there and is {run.status}; {_INSTEAD.get(run.status, 'wait for it')}, or fork"
    else:
        return
    raise InvalidInputError(
        f"The graph {spec.name!r} refuses its input: input is None, and {why}.",
        field="input",
        graph=spec.name,
    )


def _author(thread_id: ThreadId, run_id: object) -> Run | None:
    """The run that made the thread's newest checkpoint, if it is one of this thread and is still known."""
    with suppress(InvalidInputError, RunNotFoundError):
        run = ledger.get(parse_run_id(run_id))
        return run if run.thread_id == thread_id else None
    return None
