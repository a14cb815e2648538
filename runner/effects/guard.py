"""Executes the body of a guarded call: when, whether, and what is recorded before and after.

Each kind's protocol is a generator, written once, that yields what touches the database (``Io``) or
the user's code (``Body``) and receives its outcome; ``run`` does those steps in place, ``arun``
awaits the user's code and sends the database to threads of its own. (LangGraph's default executor
would do no good there: the saver's write that an effect waits for may need a place in it.)
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from langgraph.errors import GraphBubbleUp
from langgraph.types import interrupt

from holdfast.conf import settings
from holdfast.errors import EffectRefusedError, LeaseLostError
from holdfast.faults import point
from holdfast.persistence import effects as ledger
from holdfast.runner.effects.identity import CurrentEffect, Place, _current
from holdfast.runner.effects.transaction import transactional
from holdfast.runner.runs.attempt import Attempt

logger = logging.getLogger("holdfast.effects")


class AttemptOverError(LeaseLostError, GraphBubbleUp):
    """LeaseLostError as it is raised inside a graph.

    Being a GraphBubbleUp, it is neither retried by a retry policy, nor routed to an error handler,
    nor stored as the task's error. Node code that catches Exception can swallow it; then the node's
    writes, every later effect and the settling are refused by the same fence, which stays lost.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Guarded:
    """One call that is to be executed under guard."""

    place: Place
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    reconcile: Callable[..., Any] | None

    def effect(self, attempt: int) -> CurrentEffect:
        """What the body is told. Called inside the task that executes it."""
        from langgraph.config import get_config

        call = self.place.call
        task_id = get_config()["configurable"]["__pregel_task_id"]
        return CurrentEffect(
            key=call.key, function=call.function, kind=call.kind, attempt=attempt, task_id=task_id
        )


@dataclass(frozen=True, slots=True)
class Io:
    """A step that waits for the database."""

    work: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Body:
    """A step in the user's code: the body, or ``work`` in its place, with the effect set."""

    effect: CurrentEffect
    work: Callable[[], Any] | None = None


Steps = Generator[Io | Body, Any, Any]


def _steps(guarded: Guarded) -> Steps:
    attempt = guarded.place.attempt
    if attempt is None:
        return _unguarded(guarded)
    return _keyed(guarded, attempt) if guarded.place.call.kind == "keyed" else _once(guarded, attempt)


def _unguarded(guarded: Guarded) -> Steps:
    return (yield Body(guarded.effect(0)))


def _keyed(guarded: Guarded, attempt: Attempt) -> Steps:
    begun = yield Io(partial(_begin, guarded.place, attempt))
    if isinstance(begun, ledger.Record):
        return _loads(guarded.place, begun)
    value = yield Body(guarded.effect(begun))
    yield Io(partial(_finish, guarded.place, attempt, value))
    return value


def _once(guarded: Guarded, attempt: Attempt) -> Steps:
    """At most once: a body that was begun and is not surely done is never begun again unasked."""
    place, key = guarded.place, guarded.place.call.key
    answers = 0
    begun = yield Io(partial(_begin, place, attempt))
    if isinstance(begun, ledger.Record):
        if begun.state == "done":
            return _loads(place, begun)
        number, used, why = (
            begun.attempts,
            begun.answers,
            begun.error or "the process ended while it was executed",
        )
    else:
        number, used, why = begun, 0, ""
    while True:
        if not why:
            try:
                value = yield Body(guarded.effect(number))
                yield Io(partial(_finish, place, attempt, value, used))
            except LeaseLostError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever comes out of the body leaves its outcome unknown
                why = _describe(error)
            else:
                return value
        yield Io(partial(ledger.doubt, attempt.alias, attempt.fence, key, why, used))
        verdict = None
        if guarded.reconcile is not None:
            work = partial(guarded.reconcile, guarded.effect(number), *guarded.args, **guarded.kwargs)
            try:
                verdict = _verdict((yield Body(guarded.effect(number), work)))
            except Exception:
                logger.warning("reconcile of %s failed", place.call.function, exc_info=True)
        problem = ""
        while verdict is None:
            # Answers to earlier doubts come first again, in order; they have been used.
            answer = interrupt(_question(place, number, why, problem))
            answers += 1
            if answers > used:
                used = answers
                verdict = _verdict(answer)
                problem = 'The answer must be {"happened": True, "result": …} or {"happened": False}.'
        happened, result = verdict
        if happened:
            yield Io(partial(_finish, place, attempt, result, used))
            return result
        number = yield Io(partial(ledger.begin_again, attempt.alias, attempt.fence, key, number, used))
        why = ""


def _begin(place: Place, attempt: Attempt) -> ledger.Record | int:
    wait_durable(place, attempt)
    point("effect-before-begin")
    begun = ledger.begin(attempt.alias, attempt.fence, place.call)
    point("effect-after-begin")
    return begun


def _finish(place: Place, attempt: Attempt, value: Any, answers: int = 0) -> None:
    point("effect-after-body")
    type_, data = place.codec.dump_field(value, field=f"result of {place.call.function}")
    ledger.finish(attempt.alias, attempt.fence, place.call.key, type_, data, answers)
    point("effect-after-commit")


def _loads(place: Place, record: ledger.Record) -> Any:
    return place.codec.loads_typed((record.result_type or "null", bytes(record.result or b"")))


def wait_durable(place: Place, attempt: Attempt) -> None:
    """Wait until the checkpoint that the key hangs on is stored (R19). Raises LeaseLostError, EffectRefusedError."""
    seconds = settings().LEASE
    durable = attempt.fence.wait_durable(place.checkpoint_ns, place.checkpoint_id, seconds)
    if attempt.fence.lost:
        attempt.fence.refuse()
    if not durable:
        raise EffectRefusedError(
            f"{place.call.function}: the checkpoint before it was not stored within {seconds:g} s. Without it the "
            "effect could not be recognised after a crash. A subgraph that calls effects must not be compiled "
            "with checkpointer=False.",
            function=place.call.function,
        )


def _verdict(answer: Any) -> tuple[bool, Any] | None:
    if isinstance(answer, Mapping) and isinstance(answer.get("happened"), bool):
        return answer["happened"], answer.get("result")
    return None


def _question(place: Place, attempts: int, why: str, problem: str) -> dict[str, Any]:
    question = {
        "kind": "effect_in_doubt",
        "key": place.call.key,
        "function": place.call.function,
        "arguments": place.call.arguments,
        "attempts": attempts,
        "why": why,
        "answer": '{"happened": True, "result": …} if it happened, {"happened": False} if it did not',
    }
    return {**question, "problem": problem} if problem else question


def _describe(error: Exception) -> str:
    if isinstance(error, GraphBubbleUp):
        return f"its body asked a question ({type(error).__name__}), which an at_most_once body must not"
    return f"{type(error).__name__}: {error}"[:500]


@contextmanager
def _lease() -> Generator[None, None, None]:
    try:
        yield
    except AttemptOverError:
        raise
    except LeaseLostError as error:
        raise AttemptOverError(error.message, **error.facts) from error


def run(guarded: Guarded, body: Callable[[], Any]) -> Any:
    """Execute a sync body under guard, or return what is recorded of it."""
    with _lease():
        attempt = guarded.place.attempt
        if guarded.place.call.kind == "transactional" and attempt is not None:
            wait_durable(guarded.place, attempt)
            return transactional(guarded.place, attempt, guarded.effect(1), body)
        steps = _steps(guarded)
        try:
            step = next(steps)
            while True:
                try:
                    outcome = step.work() if isinstance(step, Io) else _inside(step, body)
                except Exception as error:  # noqa: BLE001 - the protocol decides
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as stop:
            return stop.value


def _inside(step: Body, body: Callable[[], Any]) -> Any:
    reset = _current.set(step.effect)
    try:
        return (step.work or body)()
    finally:
        _current.reset(reset)


async def arun(guarded: Guarded, body: Callable[[], Awaitable[Any]]) -> Any:
    """The same for an async body."""
    with _lease():
        steps = _steps(guarded)
        try:
            step = next(steps)
            while True:
                try:
                    if isinstance(step, Io):
                        outcome = await _in_thread(step.work)
                    else:
                        reset = _current.set(step.effect)
                        try:
                            outcome = (step.work or body)()
                            if inspect.isawaitable(outcome):
                                outcome = await outcome
                        finally:
                            _current.reset(reset)
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


_executor: tuple[int, ThreadPoolExecutor] | None = None


def _threads() -> ThreadPoolExecutor:
    """Threads of this process, made after any fork; enough that waiting effects hold up no other."""
    global _executor
    if _executor is None or _executor[0] != os.getpid():
        _executor = (os.getpid(), ThreadPoolExecutor(32, thread_name_prefix="holdfast-effects"))
    return _executor[1]
