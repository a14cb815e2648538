"""The executors on which LangGraph runs a run's nodes, its ``@task`` calls, and what they have written.

Writes go apart (P3, P5). LangGraph runs the nodes of a step, and the saver's and the cache's calls for those
that have finished, on one pool of threads or behind one semaphore, first come, first served: in a fan-out of 25
nodes on 6 threads, or under ``max_concurrency``, the first node's result is stored when the last node has begun,
and a crash before that repeats them all (seen with 1.2.22). And where nobody has to wait for a thread, each step
of a chain goes to another one and back twice, which costs more than the database does (10 steps: 4 ms of
processor time). Here a task's writes are handed to the saver in the thread that has them, which keeps them for
their checkpoint; a checkpoint is stored in the thread that is about to wait for it (``durability="sync"``),
together with the writes that LangGraph would have it wait for; and the cache has threads of its own. In async
graphs a task's writes are handed over in the same way and take no task of the loop's. Calls pass the boundary
before they begin (R13).

There is no public way to tell LangGraph otherwise, so inside a run its executors are replaced by these. Outside a
run nothing changes. This is the one place that reaches into them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from langchain_core.runnables.config import ContextThreadPoolExecutor, RunnableConfig
from langgraph.cache.base import BaseCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.pregel import _executor, _loop
from langgraph.types import PregelExecutableTask

from holdfast.persistence import DjangoSaver
from holdfast.persistence.backends import GuardedSaver
from holdfast.runner.runs import boundary
from holdfast.runner.runs.attempt import current_attempt

Ours = DjangoSaver | GuardedSaver

P = ParamSpec("P")
T = TypeVar("T")

CACHE_THREADS: Final = 4
"""Threads for the node cache's writes; they wait for a connection."""

_PUT: Final = "_checkpointer_put_after_previous"
"""LangGraph's own method of its loops that stores a checkpoint."""

_stock: Final = vars(_executor)["get_executor_for_config"]


class _Pool(ContextThreadPoolExecutor):
    """Of sync graphs: nodes and calls on the stock number of threads; what stores their results elsewhere."""

    def __init__(self, nodes: int | None) -> None:
        super().__init__(max_workers=nodes)
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
            return self._cache.submit(func, *args, **kwargs)
        if (call := _call_among(args)) is not None:
            return super().submit(partial(_begin, call, func), *args, **kwargs)
        return super().submit(func, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nodes first: the last of them may still hand in a value."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._cache.shutdown(wait)


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


class _Tasks(_executor.AsyncBackgroundExecutor):
    """Of async graphs: nodes and calls wait for the semaphore of ``max_concurrency``; what stores their results does not.

    All of it is called on the loop's own thread, so that nobody else sees the semaphore away.
    """

    def submit(self, fn: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """As the stock one, outside a run."""
        if current_attempt() is None:
            return super().submit(fn, *args, **kwargs)
        if (call := _call_among(args)) is not None:
            return super().submit(_abegin, call, fn, *args, **kwargs)
        owner, name = getattr(fn, "__self__", None), getattr(fn, "__name__", "")
        if isinstance(owner, DjangoSaver) and name == "aput_writes":
            if (written := owner.aput_writes_soon(*args)) is not None:
                return self._known(written, **kwargs)
        elif isinstance(owner, _loop.AsyncPregelLoop) and name == _PUT:
            if isinstance(owner.checkpointer, Ours):
                fn, args = _aput, (owner.checkpointer, *args)
        elif not isinstance(owner, BaseCheckpointSaver | BaseCache):
            return super().submit(fn, *args, **kwargs)
        semaphore, self.semaphore = self.semaphore, None
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            self.semaphore = semaphore

    def _known(
        self, future: asyncio.Future[T], *, __cancel_on_exit__: bool = False, __reraise_on_exit__: bool = True
    ) -> asyncio.Future[T]:
        """Waited for at the end of the run, and its error raised there, as if it were a task of this executor."""
        self.tasks[future] = (__cancel_on_exit__, __reraise_on_exit__)
        future.add_done_callback(self.done)
        return future


def _call_among(args: tuple[Any, ...]) -> PregelExecutableTask | None:
    return next(
        (arg for arg in args if isinstance(arg, PregelExecutableTask) and boundary.is_call(arg)), None
    )


def _begin(call: PregelExecutableTask, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    boundary.wait()
    boundary.check(call)
    return function(*args, **kwargs)


async def _abegin(
    call: PregelExecutableTask, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any
) -> T:
    if boundary.is_held_up():
        await asyncio.to_thread(boundary.wait)
    boundary.check(call)
    return await function(*args, **kwargs)


@contextmanager
def _for_config(config: RunnableConfig | None) -> Iterator[Any]:
    if current_attempt() is None:
        with _stock(config) as executor:
            yield executor
        return
    with _Pool((config or {}).get("max_concurrency")) as pool:
        yield pool


def install() -> None:
    """From now on, this process's runs are executed here."""
    vars(_executor)["get_executor_for_config"] = _for_config
    vars(_loop)["AsyncBackgroundExecutor"] = _Tasks
