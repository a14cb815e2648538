"""Executes the body of a guarded call: when, whether, and what is recorded before and after.

Each kind's protocol is a generator, written once, that yields what touches the database (``Io``) or
the user's code (``Body``) and receives its outcome; ``run`` does those steps in place, ``arun``
awaits the user's code and sends the database to threads of its own. (LangGraph's default executor
would do no good there: the saver's write that an effect waits for may need a place in it.)
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from langgraph.errors import GraphBubbleUp

from holdfast.errors import LeaseLostError, OutageError
from holdfast.per_process import PerProcess
from holdfast.persistence import effects as ledger
from holdfast.runner.effects.at_most_once import at_most_once
from holdfast.runner.effects.identity import executing
from holdfast.runner.effects.steps import Body, Guarded, Io, Steps, begin, finish, loads, wait_durable
from holdfast.runner.effects.transaction import transactional
from holdfast.runner.runs.attempt import Attempt


class AttemptOverError(LeaseLostError, GraphBubbleUp):
    """LeaseLostError as it is raised inside a graph.

    Being a GraphBubbleUp, it is neither retried by a retry policy, nor routed to an error handler,
    nor stored as the task's error. Node code that catches Exception can swallow it; then the node's
    writes, every later effect and the settling are refused by the same fence, which stays lost.
    """


def _steps(guarded: Guarded) -> Steps:
    attempt = guarded.site.attempt
    if attempt is None:
        return _unguarded(guarded)
    return _keyed(guarded, attempt) if guarded.site.call.kind == "keyed" else at_most_once(guarded, attempt)


def _unguarded(guarded: Guarded) -> Steps:
    return (yield Body(guarded.effect(0)))


def _keyed(guarded: Guarded, attempt: Attempt) -> Steps:
    begun = yield Io(partial(begin, guarded.site, attempt))
    if isinstance(begun, ledger.Record):
        return loads(guarded.site, begun)
    value = yield Body(guarded.effect(begun))
    yield Io(partial(finish, guarded.site, attempt, value))
    return value


@contextmanager
def _lease() -> Generator[None, None, None]:
    try:
        yield
    except AttemptOverError:
        raise
    except LeaseLostError as error:
        raise AttemptOverError(error.message, **error.facts) from error


@contextmanager
def _asking(attempt: Attempt | None) -> Generator[None, None, None]:
    """Around the ledger's work: where it cannot be reached, the attempt is over, also for code that catches that.

    Otherwise what such code makes of an outage would be stored in the place of the effect's result (R3).
    """
    try:
        yield
    except OutageError:
        if attempt is not None:
            attempt.fence.broken = True
        raise


def run(guarded: Guarded, body: Callable[[], Any]) -> Any:
    """Execute a sync body under guard, or return what is recorded of it."""
    with _lease():
        attempt = guarded.site.attempt
        if guarded.site.call.kind == "transactional" and attempt is not None:
            wait_durable(guarded.site, attempt)
            with _asking(attempt):
                return transactional(guarded.site, attempt, guarded.effect(1), body)
        steps = _steps(guarded)
        try:
            step = next(steps)
            while True:
                try:
                    if isinstance(step, Io):
                        with _asking(attempt):
                            outcome = step.work()
                    else:
                        outcome = _inside(step, body)
                except Exception as error:  # noqa: BLE001 - the protocol decides
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as stop:
            return stop.value


def _inside(step: Body, body: Callable[[], Any]) -> Any:
    with executing(step.effect):
        return (step.work or body)()


async def arun(guarded: Guarded, body: Callable[[], Awaitable[Any]]) -> Any:
    """The same for an async body."""
    with _lease():
        steps = _steps(guarded)
        try:
            step = next(steps)
            while True:
                try:
                    if isinstance(step, Io):
                        with _asking(guarded.site.attempt):
                            outcome = await _in_thread(step.work)
                    else:
                        with executing(step.effect):
                            outcome = (step.work or body)()
                            if inspect.isawaitable(outcome):
                                outcome = await outcome
                except Exception as error:  # noqa: BLE001 - the protocol decides
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as stop:
            return stop.value


async def _in_thread(work: Callable[[], Any]) -> Any:
    """Do it in a thread; when cancelled, wait for its end, so that nothing is written after the attempt's end."""
    future = asyncio.get_running_loop().run_in_executor(_threads(), work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        if not future.cancelled():
            future.exception()
        raise


_threads: Final = PerProcess(partial(ThreadPoolExecutor, 32, thread_name_prefix="holdfast-effects"))
"""Enough that waiting effects hold up no other."""
