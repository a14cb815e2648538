"""A thread's state and history, its update and its fork: LangGraph's own, on the thread's own graph (R5).

Reads and writes through Django's connection of the calling thread, inside its transaction if it has one.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from django.db import connections, transaction
from langchain_core.runnables import RunnableConfig
from langgraph.channels.base import BaseChannel
from langgraph.errors import InvalidUpdateError
from langgraph.pregel import Pregel
from langgraph.types import StateSnapshot

from holdfast import faults
from holdfast.errors import InvalidInputError, ThreadBusyError, ThreadNotFoundError
from holdfast.graphs import registry
from holdfast.graphs.spec import GraphSpec
from holdfast.persistence import DjangoSaver, backends, codec, ledger
from holdfast.persistence.backends import GuardedSaver, threads
from holdfast.persistence.ids import ThreadId, parse_checkpoint_id, parse_run_id, parse_thread_id
from holdfast.persistence.models.runs import RunStatus
from holdfast.persistence.records import Run
from holdfast.runner import dispatch
from holdfast.runner.runs import arguments, attachments


def state(thread_id: str, *, checkpoint_id: str | None = None) -> StateSnapshot:
    """The thread's newest state, or the one of a checkpoint. Raises ThreadNotFoundError."""
    thread = parse_thread_id(thread_id)
    wanted = None if checkpoint_id is None else parse_checkpoint_id(checkpoint_id)
    found = _graph(thread).get_state(_config(thread, wanted), subgraphs=True)
    if wanted is not None and found.metadata is None:  # LangGraph shows an empty state instead
        raise _no_checkpoint(thread, wanted)
    return found


def history(thread_id: str, *, limit: int | None = None) -> Iterator[StateSnapshot]:
    """The thread's states, newest first. Raises ThreadNotFoundError."""
    thread = parse_thread_id(thread_id)
    if limit is not None:
        arguments.count("limit", limit)
    return _graph(thread).get_state_history(_config(thread, None), limit=limit)


def update_state(thread_id: str, values: Any, *, as_node: str | None = None) -> RunnableConfig:
    """Write to the thread as if a node had returned ``values``; the config of the new checkpoint.

    On a thread that its own interrupted run holds, the questions are emptied and the run is queued, in the
    same transaction. Raises ThreadBusyError, ThreadNotFoundError, InvalidInputError.
    """
    thread = parse_thread_id(thread_id)
    with _alone(thread):
        holder = ledger.holder(thread)
        graph = _graph(thread)
        if holder is not None:
            _refuse_unless_waiting(thread, holder, graph.checkpointer)
        try:
            written = graph.update_state(_config(thread, None, holder), values, as_node=as_node)
        except InvalidUpdateError as error:
            raise InvalidInputError(
                f"Thread {thread!r} refuses the update: {error}.", field="values"
            ) from error
        except Exception as error:  # a reducer is the graph's own code; whatever else it was is raised again
            if (field := _reduced(error)) is None:
                raise
            name, version = graph_of(thread)
            raise InvalidInputError(
                f"Thread {thread!r}: the reducer of {field!r} in graph {name!r}, version {version!r}, cannot take "
                f"its value in the update: {type(error).__name__}: {error}",
                field=f"values.{field}",
            ) from error
        if holder is not None:
            queued = ledger.requeue_updated(holder)
            if queued is None:
                raise _busy(thread, holder, "was answered meanwhile")
            transaction.on_commit(lambda: _ring(queued), using=ledger.alias(), robust=True)
        faults.point("update-before-commit")
    return written


def _reduced(error: BaseException) -> str | None:
    """The field whose reducer raised the error, which does not say so itself; None if none did."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        channel = frame.f_locals.get("self")
        if isinstance(channel, BaseChannel) and frame.f_code.co_name == "update":
            return str(channel.key)
    return None


def _ring(run: Run) -> None:
    faults.point("update-after-commit")
    dispatch.ring(ledger.bell(run))


def fork(thread_id: str, checkpoint_id: str, *, new_thread_id: str | None = None) -> ThreadId:
    """A new thread whose newest checkpoint is a copy of that one, with its past; the new thread's id.

    Of a checkpoint that others followed, the outcomes of the tasks after it are left behind: the branch
    makes its own. Raises ThreadBusyError if the target exists or the source is held, ThreadNotFoundError.
    """
    source, checkpoint_id = parse_thread_id(thread_id), parse_checkpoint_id(checkpoint_id)
    target = ThreadId(str(uuid4())) if new_thread_id is None else parse_thread_id(new_thread_id)
    with _alone(source):
        if (holder := ledger.holder(source)) is not None:
            raise _busy(source, holder, f"is {holder.status}")
        if ledger.backend_of(source) is None:
            made, copied = ledger.fork_thread(source, checkpoint_id, target)
        else:
            saver: Any = _graph(source).checkpointer
            made, copied = threads.fork(saver, source, checkpoint_id, target, ledger.new_thread_elsewhere)
        if not made:
            raise ThreadBusyError(
                f"Thread {target!r} exists already; a fork makes a new one.", thread_id=target, run_id=None
            )
        if not copied:  # the error takes the new thread back, too
            raise _no_checkpoint(source, checkpoint_id)
        faults.point("fork-before-commit")
    return target


def graph_of(thread_id: str) -> tuple[str, str]:
    """Name and version of the graph that the thread belongs to. Raises ThreadNotFoundError."""
    thread = parse_thread_id(thread_id)
    if (found := ledger.graph_of(thread) or _graph_of_fork(thread)) is None:
        raise ThreadNotFoundError(
            f"No run has used thread {thread!r}; `holdfast runs` shows which threads there are.",
            thread_id=thread,
            checkpoint_id=None,
        )
    return found


@contextmanager
def _alone(thread_id: ThreadId) -> Iterator[None]:
    # FOR UPDATE: claims and retention wait, and then look in a statement of their own (R20).
    with transaction.atomic(using=ledger.alias()):
        if not ledger.lock_thread(thread_id):
            raise ThreadNotFoundError(
                f"There is no thread {thread_id!r}.", thread_id=thread_id, checkpoint_id=None
            )
        yield


def _no_checkpoint(thread_id: ThreadId, checkpoint_id: str) -> ThreadNotFoundError:
    return ThreadNotFoundError(
        f"Thread {thread_id!r} has no checkpoint {checkpoint_id[:80]!r}; `holdfast history` lists those it has.",
        thread_id=thread_id,
        checkpoint_id=checkpoint_id,
    )


def _refuse_unless_waiting(thread_id: ThreadId, holder: Run, saver: Any) -> None:
    if holder.status is not RunStatus.INTERRUPTED:
        raise _busy(thread_id, holder, f"is {holder.status}")
    obstacle = (
        threads.obstacle(saver, thread_id, holder.id)
        if isinstance(saver, GuardedSaver)
        else ledger.update_obstacle(thread_id, holder.id)
    )
    if obstacle:
        raise _busy(thread_id, holder, f"has {obstacle} that the update would repeat under another id")


def _busy(thread_id: ThreadId, holder: Run, why: str) -> ThreadBusyError:
    return ThreadBusyError(
        f"Thread {thread_id!r} is held by run {holder.id}, which {why}.",
        thread_id=thread_id,
        run_id=holder.id,
    )


def of_graph(spec: GraphSpec, thread_id: ThreadId) -> StateSnapshot:
    """The thread's newest state as that graph sees it."""
    return _attached(spec, thread_id).get_state(_config(thread_id, None))


def _graph(thread_id: ThreadId) -> Pregel[Any, Any, Any, Any]:
    return _attached(registry.get(*graph_of(thread_id)), thread_id)


def _attached(spec: GraphSpec, thread_id: ThreadId) -> Pregel[Any, Any, Any, Any]:
    attachments.refuse_moved(spec, thread_id, ledger.backend_of(thread_id))
    return spec.compile().copy({"checkpointer": attachments.elsewhere(spec) or _on_django(spec)})


def _on_django(spec: GraphSpec) -> DjangoSaver:
    connection = connections[ledger.alias()]
    connection.ensure_connection()
    return DjangoSaver(connection=connection.connection, serde=codec.codec(spec.allowlist))


def _graph_of_fork(thread_id: ThreadId) -> tuple[str, str] | None:
    """Of a thread elsewhere that no run has used: the graph of the run that made its newest checkpoint."""
    for address in backends.known("CHECKPOINTER") if ledger.backend_of(thread_id) else ():
        for found in backends.open_saver(address).list(threads.config_of(thread_id)):
            if run_id := found.metadata.get("run_id"):
                run = ledger.get(parse_run_id(run_id))
                return run.graph, run.version
    return None


def _config(thread_id: ThreadId, checkpoint_id: str | None, holder: Run | None = None) -> RunnableConfig:
    configurable = {"thread_id": thread_id, "checkpoint_ns": ""}
    if checkpoint_id is not None:
        configurable["checkpoint_id"] = checkpoint_id
    if holder is not None:  # the checkpoint is the run's own: its rollback deletes it
        configurable["run_id"] = str(holder.id)
    return {"configurable": configurable}
