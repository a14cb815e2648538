"""The event loop on which a process runs its async graphs, and the threads beside it.

One loop thread a process. The nodes' Django connections are not on it: the sync nodes of such a graph run
on the loop's executor, the async ORM on a thread of asgiref's. On each of them, connections that the
database has dropped are closed before they are used again, so that a restart of the server is no error of
a node (sync graphs: ``timeline``). It knows nothing of runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from langchain_core.callbacks import AsyncCallbackHandler

from holdfast.per_process import PerProcess
from holdfast.persistence.connections import drop_dead_django_connections

MOST_THREADS = 128
"""Far above asyncio's own 6 on two cores: sync nodes that take long must not keep the saver waiting."""

P = ParamSpec("P")
T = TypeVar("T")


class OrmKeeper(AsyncCallbackHandler):
    """Keeps the thread of Django's async ORM fit for the node that begins."""

    run_inline = True  # before the node, not beside it
    raise_error = False

    async def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A node begins, or something inside one, which is of no interest."""
        if metadata and kwargs.get("name") == metadata.get("langgraph_node"):
            await sync_to_async(drop_dead_django_connections)()


class _Threads(ThreadPoolExecutor):
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        def work() -> T:
            drop_dead_django_connections()
            return fn(*args, **kwargs)

        return super().submit(work)


class Loop:
    """One event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(_Threads(MOST_THREADS, thread_name_prefix="holdfast-loop"))
        threading.Thread(target=self._run, name="holdfast-loop", daemon=True).start()

    def _run(self) -> None:
        while True:
            # asyncio hands a task's exit to whoever awaits it, and lets it through here as well: without
            # another round all other async graphs of the process would stand still for ever.
            with suppress(SystemExit, KeyboardInterrupt):
                self._loop.run_forever()

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run the coroutine there, and wait for it, with this thread's context variables."""
        context = contextvars.copy_context()
        asyncio.run_coroutine_threadsafe(_in_context(coroutine, context), self._loop).result()


async def _in_context(coroutine: Coroutine[Any, Any, None], context: contextvars.Context) -> None:
    await asyncio.get_running_loop().create_task(coroutine, context=context)


loop: Final = PerProcess(Loop)
"""This process's; a forked child gets one of its own."""
