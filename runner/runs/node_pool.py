"""The executor of a sync run: a pool of threads for nodes and calls; what stores their results goes past it.

Why, tells ``executors``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from langchain_core.runnables.config import ContextThreadPoolExecutor
from langgraph.cache.base import BaseCache
from langgraph.pregel import _loop
from langgraph.types import PregelExecutableTask

from holdfast.runner.runs import boundary, single_flight
from holdfast.runner.runs.handed import PUT, Ours, task_among
from holdfast.runner.runs.room import MOST_OUT, Room, Slot, current_slot, enter

P = ParamSpec("P")
T = TypeVar("T")

CACHE_THREADS: Final = 4
"""Threads for the writes of a cache that is not ours."""
NODE_THREADS: Final = min(32, (os.cpu_count() or 1) + 4)
"""Nodes of a step that are executed at once unless ``max_concurrency`` says otherwise: Python's own number."""
NO_LIMIT: Final = 100_000
"""The rooms have one."""


class _Node(Future[Any]):
    """What became of a node; remembers that somebody has lost interest in it, also while it runs."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self._slot = slot
        self.turn: Future[None] | None = None

    def cancel(self) -> bool:
        """As any future's; a node that waits for another worker's value gives up."""
        self._slot.unwanted = True
        if self.turn is not None:
            self.turn.cancel()
        return super().cancel()


class NodePool(ContextThreadPoolExecutor):
    """Of sync graphs: nodes and calls in as many slots as stock has threads; what stores their results elsewhere."""

    def __init__(self, nodes: int | None) -> None:
        super().__init__(max_workers=NO_LIMIT)
        self._room = Room(nodes or NODE_THREADS, most_out=MOST_OUT)
        self._cache = ThreadPoolExecutor(CACHE_THREADS, thread_name_prefix="holdfast-cache")

    def submit(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[Any]:  # type: ignore[override]  # as LangChain has it, not as the standard library
        """``func`` runs a context; what is run in it comes first of its arguments, or second, before the task."""
        method: Any = args[0] if args else None
        owner = getattr(method, "__self__", None)
        if isinstance(owner, Ours) and method.__name__ == "put_writes":
            call_saver: Callable[..., Future[None]] = owner.put_writes_soon
            return call_saver(*args[1:], **kwargs)
        if isinstance(owner, _loop.SyncPregelLoop) and method.__name__ == PUT:
            in_context: Callable[..., Any] = func
            if isinstance(owner.checkpointer, Ours):
                return _here(partial(in_context, _put, owner.checkpointer, *args[1:], **kwargs))
            return _here(partial(in_context, *args, **kwargs))
        if isinstance(owner, BaseCache):
            if single_flight.covers(owner):
                return _here(_nothing)  # it has been stored
            return self._cache.submit(func, *args, **kwargs)
        if (at := task_among(args)) is None:
            return super().submit(func, *args, **kwargs)
        slot = Slot(self._room, current_slot())
        given: list[Any] = list(args)
        given[at - 1] = partial(_begin, slot, given[at - 1])
        work: Any = func
        return self._in_turn(slot, partial(work, *given, **kwargs))

    def _in_turn(self, slot: Slot, work: Callable[[], Any]) -> Future[Any]:
        node = _Node(slot)

        def go(_: object = None) -> None:
            if node.turn is not None and node.turn.cancelled():
                return
            slot.begin()
            try:
                super(NodePool, self).submit(_execute, node, slot, work)
            except RuntimeError as error:  # the interpreter is about to end
                slot.end()
                node.set_exception(error)

        node.turn = slot.turn()
        if node.turn is None:
            go()
        else:
            node.turn.add_done_callback(go)
        return node

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nodes first: the last of them may still hand in a value."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._cache.shutdown(wait)


def _execute(node: Future[Any], slot: Slot, work: Callable[[], Any]) -> None:
    if not node.set_running_or_notify_cancel():
        slot.end()
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - raised where the future is asked
        slot.end()
        node.set_exception(error)
    else:
        slot.end()
        node.set_result(result)


def _put(saver: Ours, previous: Future[Any] | None, writes: Any, *checkpoint: Any) -> None:
    """In place of the loop's own, which waits for a DeltaChannel's writes before it asks the saver to store both."""
    if previous is not None:
        previous.result()
    saver.put_after(writes, *checkpoint)


def _here(call: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()
    try:
        future.set_result(call())
    except Exception as error:  # noqa: BLE001 - raised where the future is asked, as from another thread
        future.set_exception(error)
    return future


def _nothing() -> None:
    pass


def _begin(
    slot: Slot, function: Callable[..., T], task: PregelExecutableTask, *args: Any, **kwargs: Any
) -> T:
    enter(slot)
    if boundary.is_call(task):
        boundary.wait()
        boundary.check(task)
    return function(task, *args, **kwargs)
