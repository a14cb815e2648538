"""Keeps what a finished node has written from waiting behind siblings that have not begun (P3, P5).

LangGraph runs the nodes of a step, and the saver's and the cache's calls for those that have finished, on one
pool of threads, first come, first served: in a fan-out of 25 nodes on 6 threads the first node's result is
stored when the last node has begun, and a crash before that repeats them all (seen with 1.2.22). There is no
public way to tell it otherwise, so inside a run its pool is replaced by one that serves writes apart. Outside a
run nothing changes. This is the one place that reaches into LangGraph's executor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, ParamSpec, TypeVar

from langchain_core.runnables.config import ContextThreadPoolExecutor, RunnableConfig
from langgraph.cache.base import BaseCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.pregel import _executor

from holdfast.runner.runs.attempt import current_attempt

P = ParamSpec("P")
T = TypeVar("T")

WRITERS: Final = 4
"""Threads for writes; they wait for the saver's connections, or a few milliseconds for their checkpoint."""

_stock: Final = vars(_executor)["get_executor_for_config"]


class _Pool(ContextThreadPoolExecutor):
    """Nodes on the stock number of threads, writes on some of their own."""

    def __init__(self, nodes: int | None) -> None:
        super().__init__(max_workers=nodes)
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="holdfast-writer")

    def submit(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:  # type: ignore[override]  # as LangChain has it, not as the standard library
        """``func`` is a context's ``run``; what it is to run comes first of its arguments."""
        owner = getattr(args[0], "__self__", None) if args else None
        if isinstance(owner, BaseCheckpointSaver | BaseCache):
            return self._writers.submit(func, *args, **kwargs)
        return super().submit(func, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nodes first: the last of them may still hand in a write."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._writers.shutdown(wait)


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
