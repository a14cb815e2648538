"""The executors on which LangGraph runs a run's nodes, its ``@task`` calls, and what they have written.

Writes go apart (P3, P5). LangGraph runs the nodes of a step, and the saver's and the cache's calls for those
that have finished, on one pool of threads or behind one semaphore, first come, first served: in a fan-out of 25
nodes on 6 threads, or under ``max_concurrency``, the first node's result is stored when the last node has begun,
and a crash before that repeats them all (seen with 1.2.22). And where nobody has to wait for a thread, each step
of a chain goes to another one and back twice, which costs more than the database does (10 steps: 4 ms of
processor time). Here a task's writes are handed to the saver in the thread that has them, which keeps them for
their checkpoint; a checkpoint is stored in the thread that is about to wait for it (``durability="sync"``),
together with the writes that LangGraph would have it wait for; and a cache that is not ours has threads of its own.
In async graphs a task's writes are handed over in the same way and take no task of the loop's. Nodes and calls have
slots (``room``), and calls pass the boundary before they begin (R13).

There is no public way to tell LangGraph otherwise, so inside a run its executors are replaced by these, and how it
treats cached nodes by ``cached_nodes``. Outside a run nothing changes. In the runner only these two replace parts of LangGraph.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from langchain_core.runnables.config import ContextThreadPoolExecutor, RunnableConfig
from langgraph.cache.base import BaseCache
from langgraph.pregel import _executor, _loop
from langgraph.types import PregelExecutableTask

from holdfast.persistence import DjangoSaver
from holdfast.persistence.backends import GuardedSaver
from holdfast.runner.runs import boundary, cached_nodes, single_flight
from holdfast.runner.runs.attempt import current_attempt
from holdfast.runner.runs.room import MOST_OUT, Room, Slot, current_slot, enter

Ours = DjangoSaver | GuardedSaver

P = ParamSpec("P")
T = TypeVar("T")

CACHE_THREADS: Final = 4
"""Threads for the writes of a cache that is not ours."""
NODE_THREADS: Final = min(32, (os.cpu_count() or 1) + 4)
"""Nodes of a step that are executed at once unless ``max_concurrency`` says otherwise: Python's own number."""
NO_LIMIT: Final = 100_000
"""The rooms have one."""

_PUT: Final = "_checkpointer_put_after_previous"
"""LangGraph's own method of its loops that stores a checkpoint."""

_stock_pool: Final = vars(_executor)["get_executor_for_config"]


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


class _Pool(ContextThreadPoolExecutor):
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
        if isinstance(owner, _loop.SyncPregelLoop) and method.__name__ == _PUT:
            in_context: Callable[..., Any] = func
            if isinstance(owner.checkpointer, Ours):
                return _here(partial(in_context, _put, owner.checkpointer, *args[1:], **kwargs))
            return _here(partial(in_context, *args, **kwargs))
        if isinstance(owner, BaseCache):
            if single_flight.covers(owner):
                return _here(_nothing)  # it has been stored
            return self._cache.submit(func, *args, **kwargs)
        if (at := _task_among(args)) is None:
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
                super(_Pool, self).submit(_execute, node, slot, work)
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


async def _aput(saver: Ours, previous: Awaitable[Any] | None, writes: Any, *checkpoint: Any) -> None:
    if previous is not None:
        await previous
    await saver.aput_after(writes, *checkpoint)


def _here(call: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()
    try:
        future.set_result(call())
    except Exception as error:  # noqa: BLE001 - raised where the future is asked, as from another thread
        future.set_exception(error)
    return future


def _nothing() -> None:
    pass


class _Tasks(_executor.AsyncBackgroundExecutor):
    """Of async graphs: nodes and calls wait for their slots, of which ``max_concurrency`` says how many.

    What stores their results waits for none. All of it is called on the loop's own thread.
    """

    def __init__(self, config: RunnableConfig) -> None:
        super().__init__(config)
        self._room = Room(config.get("max_concurrency"))
        if current_attempt() is not None:
            self.semaphore = None  # nodes and calls wait for their slots

    def submit(self, fn: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """As the stock one, outside a run."""
        if current_attempt() is None:
            return super().submit(fn, *args, **kwargs)
        if _task_among(args) is not None:
            return super().submit(_abegin, Slot(self._room, current_slot()), fn, *args, **kwargs)
        owner, name = getattr(fn, "__self__", None), getattr(fn, "__name__", "")
        if single_flight.covers(owner):
            done = self.loop.create_future()  # it has been stored
            done.set_result(None)
            return done
        if isinstance(owner, DjangoSaver) and name == "aput_writes":
            if (written := owner.aput_writes_soon(*args)) is not None:
                return self._known(written, **kwargs)
        elif (
            isinstance(owner, _loop.AsyncPregelLoop) and name == _PUT and isinstance(owner.checkpointer, Ours)
        ):
            fn, args = _aput, (owner.checkpointer, *args)
        return super().submit(fn, *args, **kwargs)

    def _known(
        self, future: asyncio.Future[T], *, __cancel_on_exit__: bool = False, __reraise_on_exit__: bool = True
    ) -> asyncio.Future[T]:
        """Waited for at the end of the run, and its error raised there, as if it were a task of this executor."""
        self.tasks[future] = (__cancel_on_exit__, __reraise_on_exit__)
        future.add_done_callback(self.done)
        return future


def _task_among(args: tuple[Any, ...]) -> int | None:
    return next((at for at, arg in enumerate(args) if isinstance(arg, PregelExecutableTask)), None)


def _begin(
    slot: Slot, function: Callable[..., T], task: PregelExecutableTask, *args: Any, **kwargs: Any
) -> T:
    enter(slot)
    if boundary.is_call(task):
        boundary.wait()
        boundary.check(task)
    return function(task, *args, **kwargs)


async def _abegin(
    slot: Slot, function: Callable[..., Awaitable[T]], task: PregelExecutableTask, *args: Any, **kwargs: Any
) -> T:
    enter(slot)
    await slot.abegin()
    try:
        if boundary.is_call(task):
            if boundary.is_held_up():
                await asyncio.to_thread(boundary.wait)
            boundary.check(task)
        return await function(task, *args, **kwargs)
    finally:
        slot.end()


@contextmanager
def _for_config(config: RunnableConfig | None) -> Iterator[Any]:
    if current_attempt() is None:
        with _stock_pool(config) as executor:
            yield executor
        return
    with _Pool((config or {}).get("max_concurrency")) as pool:
        yield pool


def install() -> None:
    """From now on, this process's runs are executed here."""
    vars(_executor)["get_executor_for_config"] = _for_config
    vars(_loop)["AsyncBackgroundExecutor"] = _Tasks
    cached_nodes.install()
