"""What goes along with a fenced checkpoint, and what is known once it is committed; touches no database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from holdfast import faults
from holdfast.persistence.fence import Fence
from holdfast.persistence.saver.asking import Written
from holdfast.persistence.saver.encoding import Params, writes_params
from holdfast.persistence.saver.held import Held, finish


@contextmanager
def storing_checkpoint(
    fence: Fence, held: Held, params: Params, after: Sequence[Written], *, relaxed: bool
) -> Iterator[tuple[Params, Sequence[Written]]]:
    """Around saver_put_fenced, given the parameters of saver_put and the writes that it must not go before.

    Gives the statement's parameters, with the writes of the step before as far as they have waited for it,
    and those writes that are being stored by others, which must be durable first. What the statement
    raises is also the error of those whose writes went along. ``relaxed``: the commit need not wait for the
    disk. Neither need the first one, as nothing has happened before it that would be missed. Raises GraphDrained.
    """
    fence.check_abandoned()
    thread_id, namespace, parent_id = params["thread_id"], params["checkpoint_ns"], params["parent_id"]
    # A subgraph, or another thread that a node writes to, is not the run's own input.
    enter = not fence.entered and namespace == "" and thread_id == fence.thread_id
    if enter:
        faults.point("input-before-first-checkpoint")
    faults.point("checkpoint-before-commit")
    along, before = held.take((thread_id, namespace, parent_id)) if parent_id else ([], [])
    taken = {id(future) for batch in along for future in (batch.stored, batch.awaited)}
    first = [batch.stored for batch in before] + [written for written in after if id(written) not in taken]
    relaxed = (relaxed or enter) and fence.era is not None
    error: BaseException | None = None
    try:
        yield {**params, **writes_params(along), "enter": enter, "relaxed": relaxed}, first
    except BaseException as raised:  # it is the error, too, of those whose writes went along
        error = raised
        raise
    finally:
        finish(along, error)
    if along:
        faults.point("writes-after-commit")
    if enter:
        fence.entered = True
    fence.progressed = True
    fence.note_durable(namespace, params["checkpoint_id"])
    faults.point("checkpoint-after-commit")
