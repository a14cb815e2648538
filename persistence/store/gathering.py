"""Operations that asyncio tasks ask for while another's are under way are done together, as one batch.

A fan-out of many tasks thus costs a few statements and not one each. Each task gets its own results, and its own
error: where a batch of several fails for what one of them asked, each is done by itself. What needs a model is never
gathered, since others would wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from langgraph.store.base import Op, Result

from holdfast.errors import DatabaseUnreachableError, LeaseLostError

Do = Callable[[list[Op]], Awaitable[list[Result]]]

_MOST: Final = 500
"""Operations in one batch, so that one statement stays short."""
_EVERYBODYS: Final = (DatabaseUnreachableError, LeaseLostError)
"""Errors that each of a batch would get by itself, too."""


class Gathering:
    """Those of one event loop. Not thread-safe, as nothing of a loop is."""

    def __init__(self, do: Do) -> None:
        self._do = do
        self._waiting: list[tuple[list[Op], asyncio.Future[list[Result]]]] = []
        self._under_way: asyncio.Task[None] | None = None

    async def batch(self, ops: list[Op]) -> list[Result]:
        """Results of these operations. Raises what ``do`` raises for them."""
        answer: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        self._waiting.append((ops, answer))
        if self._under_way is None:
            self._under_way = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._together(self._next())
        finally:
            self._under_way = None
            for _, answer in self._waiting:  # the loop is ending
                answer.cancel()
            self._waiting.clear()

    def _next(self) -> list[tuple[list[Op], asyncio.Future[list[Result]]]]:
        taken: list[tuple[list[Op], asyncio.Future[list[Result]]]] = []
        size = 0
        while self._waiting and (not taken or size + len(self._waiting[len(taken)][0]) <= _MOST):
            taken.append(self._waiting[len(taken)])
            size += len(taken[-1][0])
            if len(taken) == len(self._waiting):
                break
        del self._waiting[: len(taken)]
        return [each for each in taken if not each[1].done()]  # whoever was cancelled wants nothing

    async def _together(self, asked: Sequence[tuple[list[Op], asyncio.Future[list[Result]]]]) -> None:
        if not asked:
            return
        try:
            results = await self._do([op for ops, _ in asked for op in ops])
        except asyncio.CancelledError:
            for _, answer in asked:
                answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it is the callers', each of whom gets it
            if len(asked) == 1 or isinstance(error, _EVERYBODYS):
                for _, answer in asked:
                    if not answer.done():
                        answer.set_exception(error)
            else:
                for each in asked:
                    await self._together([each])
            return
        for ops, answer in asked:
            mine, results = results[: len(ops)], results[len(ops) :]
            if not answer.done():
                answer.set_result(mine)
