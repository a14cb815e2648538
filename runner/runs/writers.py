"""Stores what nodes have written without the detours of LangGraph's pool of threads (P3, P5).

LangGraph runs the nodes of a step, and the saver's and the cache's calls for those that have finished, on one
pool of threads, first come, first served. In a fan-out of 25 nodes on 6 threads the first node's result is
stored when the last node has begun, and a crash before that repeats them all (seen with 1.2.22). And where
nobody has to wait for a thread, each step of a chain goes to another one and back twice, which costs more
than the database does (10 steps: 4 ms of processor time). There is no public way to tell it otherwise, so
inside a run its pool is replaced by one that

- hands a task's writes to the saver at once, in the thread that has them: it keeps them for the checkpoint,
- stores a checkpoint in the thread that is about to wait for it (``durability="sync"``),
- serves the cache apart from the nodes.

Outside a run nothing changes. This is the one place that reaches into LangGraph's executor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, ParamSpec, TypeVar

from langchain_core.runnables.config import ContextThreadPoolExecutor, RunnableConfig
from langgraph.cache.base import BaseCache
from langgraph.pregel import _executor
from langgraph.pregel._loop import SyncPregelLoop

from holdfast.persistence import DjangoSaver
from holdfast.runner.runs.attempt import current_attempt

P = ParamSpec("P")
T = TypeVar("T")

CACHE_THREADS: Final = 4
"""Threads for the node cache's writes; they wait for a connection."""

_stock: Final = vars(_executor)["get_executor_for_config"]


class _Pool(ContextThreadPoolExecutor):
    """Nodes on the stock number of threads; whatever stores their results elsewhere."""

    def __init__(self, nodes: int | None) -> None:
        super().__init__(max_workers=nodes)
        self._cache = ThreadPoolExecutor(CACHE_THREADS, thread_name_prefix="holdfast-cache")

    def submit(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[Any]:  # type: ignore[override]  # as LangChain has it, not as the standard library
        """``func`` is a context's ``run``; what it is to run comes first of its arguments."""
        method: Any = args[0] if args else None
        owner = getattr(method, "__self__", None)
        if isinstance(owner, DjangoSaver) and method.__name__ == "put_writes":
            call: Any = owner.put_writes_soon  # the arguments are put_writes's own
            return call(*args[1:], **kwargs)  # type: ignore[no-any-return]  # a Future, whatever it is called with
        if isinstance(owner, SyncPregelLoop) and method.__name__ == "_checkpointer_put_after_previous":
            return _here(func, *args, **kwargs)
        if isinstance(owner, BaseCache):
            return self._cache.submit(func, *args, **kwargs)
        return super().submit(func, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nodes first: the last of them may still hand in a value."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._cache.shutdown(wait)


def _here(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    future: Future[T] = Future()
    try:
        future.set_result(func(*args, **kwargs))
    except Exception as error:  # noqa: BLE001 - raised where the future is asked, as from another thread
        future.set_exception(error)
    return future


@contextmanager
def _for_config(config: RunnableConfig | None) -> Iterator[Any]:
    if current_attempt() is None:
        with _stock(config) as executor:
            yield executor
        return
    with _Pool((config or {}).get("max_concurrency")) as pool:
        yield pool


def install() -> None:
    """From now on, the loops of this process's runs get their threads from here."""
    vars(_executor)["get_executor_for_config"] = _for_config
