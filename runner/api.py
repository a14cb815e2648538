"""The public functions, sync and async. Thin: each calls its station; the async twins run it on a thread.

Ids may be given as UUID or text. Every error is a HoldfastError.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from asgiref.sync import sync_to_async
from langchain_core.runnables import RunnableConfig
from langgraph.types import StateSnapshot

from holdfast.errors import InvalidInputError
from holdfast.persistence import ledger
from holdfast.persistence.ids import ThreadId, parse_run_id, parse_thread_id
from holdfast.persistence.records import Run, StepRecord
from holdfast.persistence.trouble import told
from holdfast.runner.runs import arguments
from holdfast.runner.runs import cancel as _cancel
from holdfast.runner.runs import enqueue as _enqueue
from holdfast.runner.runs import resume as _resume
from holdfast.runner.runs import thread as _thread
from holdfast.runner.runs import wait as _wait
from holdfast.runner.runs.arguments import When
from holdfast.runner.runs.request import Request, Strategy

Id = UUID | str
P = ParamSpec("P")
T = TypeVar("T")


def _public(function: Callable[P, T]) -> Callable[P, T]:
    """The database's own errors leave as typed ones: unreachable, or not migrated."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with told():
            return function(*args, **kwargs)

    return call


@_public
def enqueue(
    graph: str,
    input: Any = None,
    *,
    thread_id: str | None = None,
    idempotency_key: str | None = None,
    run_after: When = None,
    priority: int = 0,
    queue: str | None = None,
    multitask_strategy: Strategy = "enqueue",
    config: Mapping[str, Any] | None = None,
    context: Any = None,
    metadata: Mapping[str, Any] | None = None,
    deadline: When = None,
    version: str | None = None,
) -> Run:
    """Accept a run of ``graph``, durable once the surrounding transaction has committed (P1).

    ``input``: what the graph's schema takes; None goes on from where the thread stands, after a ``fork`` or an
    ``update_state``. ``thread_id``: the conversation to go on with; by default a thread of its own. ``idempotency_key``: the
    same key gives the same run, never a second one. ``run_after``, ``deadline``: an aware datetime, a
    timedelta or seconds from now. ``priority``: 0 to 9, 9 first. ``queue``: by default the project's task
    routes decide. ``multitask_strategy``: what an unfinished run on the thread means: ``enqueue`` waits for
    it, ``reject`` raises, ``interrupt`` cancels it, ``rollback`` cancels it and deletes what it wrote.

    Raises UnknownGraphError, InvalidInputError, NotSerializableError, IdempotencyConflictError,
    ThreadBusyError, TransactionError; then nothing has been written.
    """
    request = Request(
        graph=graph,
        input=input,
        thread_id=thread_id,
        idempotency_key=idempotency_key,
        run_after=run_after,
        priority=priority,
        queue=queue,
        multitask_strategy=multitask_strategy,
        config=config,
        context=context,
        metadata=metadata,
        deadline=deadline,
        version=version,
    )
    return _enqueue.enqueue([request])[0]


@_public
def enqueue_many(requests: Sequence[Request | Mapping[str, Any]]) -> list[Run]:
    """Accept several runs, all or none; each a Request or a mapping of ``enqueue``'s arguments.

    Raises what ``enqueue`` does.
    """
    if isinstance(requests, (str, bytes, Mapping)) or not isinstance(requests, Iterable):
        raise InvalidInputError(
            f"enqueue_many takes a list of requests, not {type(requests).__name__}.", field="requests"
        )
    return _enqueue.enqueue([_request(place, request) for place, request in enumerate(requests)])


def _request(place: int, given: Any) -> Request:
    if isinstance(given, Request):
        return given
    try:
        return Request(**given)
    except TypeError:
        known = [field.name for field in dataclasses.fields(Request)]
        keys = list(given) if isinstance(given, Mapping) else []
        wrong = [key for key in keys if key not in known]
        why = (
            f"has no {wrong[0]!r}; it takes {', '.join(known)}"
            if wrong
            else "is a mapping with the key 'graph'"
        )
        raise InvalidInputError(
            f"Request {place} of enqueue_many {why}.", field=f"requests.{place}"
        ) from None


@_public
def get(run_id: Id) -> Run:
    """Read a run. Raises RunNotFoundError."""
    return ledger.get(parse_run_id(run_id))


@_public
def runs(
    *, status: str | None = None, graph: str | None = None, thread_id: str | None = None, limit: int = 50
) -> list[Run]:
    """The newest runs, newest first. Raises InvalidInputError."""
    return ledger.runs(
        status=None if status is None else arguments.status(status),
        graph=arguments.name("graph", graph, 200),
        thread_id=None if thread_id is None else parse_thread_id(thread_id),
        limit=arguments.count("limit", limit),
    )


@_public
def steps(run_id: Id) -> list[StepRecord]:
    """What the run did so far, line by line. Raises RunNotFoundError."""
    run = parse_run_id(run_id)
    if not (lines := ledger.steps(run)):
        ledger.glance(run)  # of an unknown run there are none either
    return lines


@_public
def wait(run_id: Id, timeout: float | None = None, *, on_change: Callable[[Run], None] | None = None) -> Run:
    """The run once it has ended or asks. Raises RunNotFoundError, WaitTimeoutError (``timeout`` in seconds)."""
    return _wait.wait(parse_run_id(run_id), timeout=timeout, on_change=on_change)


@_public
def resume(run_id: Id, answer: Any) -> Run:
    """Answer what the run asks: a plain answer to its only question, or ``{question id: answer}`` (P13).

    Raises RunNotFoundError, RunNotWaitingError, UnknownQuestionError, NotSerializableError.
    """
    return _resume.resume(parse_run_id(run_id), answer)


@_public
def cancel(run_id: Id, *, rollback: bool = False) -> Run:
    """Ask for the run's end; ``rollback`` deletes what it wrote. Raises RunNotFoundError, RunEndedError."""
    return _cancel.cancel(parse_run_id(run_id), rollback=rollback)


@_public
def retry(run_id: Id) -> Run:
    """Let a failed or cancelled run go on from its last checkpoint. Raises RunNotFoundError, RetryRefusedError."""
    return _cancel.retry(parse_run_id(run_id))


@_public
def state(thread_id: str, *, checkpoint_id: str | None = None) -> StateSnapshot:
    """The thread's newest state, or that of a checkpoint. Raises ThreadNotFoundError."""
    return _thread.state(thread_id, checkpoint_id=checkpoint_id)


@_public
def history(thread_id: str, *, limit: int | None = None) -> Iterator[StateSnapshot]:
    """The thread's states, newest first, read as they are asked for. Raises ThreadNotFoundError."""
    return _told_on_the_way(_thread.history(thread_id, limit=limit))


@_public
def update_state(thread_id: str, values: Any, as_node: str | None = None) -> RunnableConfig:
    """Write to a thread as a node would. Raises ThreadBusyError, ThreadNotFoundError."""
    return _thread.update_state(thread_id, values, as_node=as_node)


@_public
def fork(thread_id: str, checkpoint_id: str, new_thread_id: str | None = None) -> ThreadId:
    """Branch a new thread off a checkpoint. Raises ThreadBusyError, ThreadNotFoundError."""
    return _thread.fork(thread_id, checkpoint_id, new_thread_id=new_thread_id)


def _told_on_the_way(items: Iterator[T]) -> Iterator[T]:
    """What ``_public`` does for a call, for the items of what it returned."""
    with told():
        yield from items


def _history_list(thread_id: str, *, limit: int | None = None) -> list[StateSnapshot]:
    return list(history(thread_id, limit=limit))


aenqueue = sync_to_async(enqueue)
aenqueue_many = sync_to_async(enqueue_many)
aget = sync_to_async(get)


async def await_(
    run_id: Id,
    timeout: float | None = None,  # noqa: ASYNC109 - the twin of ``wait``, with its typed error
    *,
    on_change: Callable[[Run], None] | None = None,
) -> Run:
    """As ``wait``; what else the program asks meanwhile does not wait for it."""
    with told():
        return await _wait.wait_async(parse_run_id(run_id), timeout=timeout, on_change=on_change)


aresume = sync_to_async(resume)
acancel = sync_to_async(cancel)
aretry = sync_to_async(retry)
astate = sync_to_async(state)
ahistory = sync_to_async(_history_list)
aupdate_state = sync_to_async(update_state)
afork = sync_to_async(fork)
aruns = sync_to_async(runs)
asteps = sync_to_async(steps)
