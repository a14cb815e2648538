"""The protocol of an at_most_once effect: a body that was begun is never begun again unasked (P4).

It is in doubt when the process ended while it was executed, and when any exception came out of it.
``reconcile`` may know what happened; otherwise the run asks, by an interrupt of the task that
executes the body, and goes on when it is resumed with the answer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from langgraph.errors import GraphBubbleUp
from langgraph.types import interrupt

from holdfast.errors import LeaseLostError
from holdfast.persistence import effects as ledger
from holdfast.persistence.jsonb import storable
from holdfast.runner.effects.identity import CallSite
from holdfast.runner.effects.steps import Body, Guarded, Io, Steps, begin, finish, loads
from holdfast.runner.runs.attempt import Attempt

logger = logging.getLogger("holdfast.effects")


def at_most_once(guarded: Guarded, attempt: Attempt) -> Steps:
    """The steps of one call."""
    site, key = guarded.site, guarded.site.call.key
    answers = 0
    begun = yield Io(partial(begin, site, attempt))
    if isinstance(begun, ledger.Record):
        if begun.state == "done":
            return loads(site, begun)
        number, used, why = (
            begun.attempts,
            begun.answers,
            begun.doubt or "the process ended while it was executed",
        )
    else:
        number, used, why = begun, 0, ""
    while True:
        if not why:
            try:
                value = yield Body(guarded.effect(number))
                yield Io(partial(finish, site, attempt, value, used))
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
            except Exception:  # reconcile is the user's; one that fails does not know, and the run asks
                logger.warning("reconcile of %s failed", site.call.function, exc_info=True)
        problem = ""
        while verdict is None:
            # Answers to earlier doubts come first again, in order; they have been used.
            answer = interrupt(_question(site, number, why, problem))
            answers += 1
            if answers > used:
                used = answers
                verdict = _verdict(answer)
                problem = 'The answer must be {"happened": True, "result": …} or {"happened": False}.'
        happened, result = verdict
        if happened:
            yield Io(partial(finish, site, attempt, result, used))
            return result
        number = yield Io(partial(ledger.begin_again, attempt.alias, attempt.fence, key, number, used))
        why = ""


def _verdict(answer: Any) -> tuple[bool, Any] | None:
    if isinstance(answer, Mapping) and isinstance(answer.get("happened"), bool):
        return answer["happened"], answer.get("result")
    return None


def _question(site: CallSite, attempts: int, why: str, problem: str) -> dict[str, Any]:
    question = {
        "kind": "effect_in_doubt",
        "key": site.call.key,
        "function": site.call.function,
        "arguments": site.call.arguments,
        "attempts": attempts,
        "why": why,
        "answer": '{"happened": True, "result": …} if it happened, {"happened": False} if it did not',
    }
    return {**question, "problem": problem} if problem else question


def _describe(error: Exception) -> str:
    if isinstance(error, GraphBubbleUp):
        return f"its body asked a question ({type(error).__name__}), which an at_most_once body must not"
    return str(storable(f"{type(error).__name__}: {error}"[:500]))
