"""The executor of an async run: asyncio tasks for nodes and calls, which wait for their slots.

Why, tells ``executors``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from langchain_core.runnables.config import RunnableConfig
from langgraph.pregel import _executor, _loop
from langgraph.types import PregelExecutableTask

from holdfast.persistence import DjangoSaver
from holdfast.runner.runs import boundary, single_flight
from holdfast.runner.runs.attempt import current_attempt
from holdfast.runner.runs.handed import PUT, Ours, task_among
from holdfast.runner.runs.room import Room, Slot, current_slot, enter

T = TypeVar("T")


class NodeTasks(_executor.AsyncBackgroundExecutor):
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
        if task_among(args) is not None:
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
            isinstance(owner, _loop.AsyncPregelLoop) and name == PUT and isinstance(owner.checkpointer, Ours)
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


async def _aput(saver: Ours, previous: Awaitable[Any] | None, writes: Any, *checkpoint: Any) -> None:
    if previous is not None:
        await previous
    await saver.aput_after(writes, *checkpoint)


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
