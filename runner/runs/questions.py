"""Which question an answer belongs to (R7, P13).

An interrupt's id names the task that asks, not the question: a node that asks twice asks both times under
one id. So a question is recorded with where it was asked (the deepest namespace that holds the id, that
namespace's newest checkpoint, the task) and with n, how many answers the task had by then. An answer is
sent only while the checkpoint is still the newest one there and the task still has n answers; otherwise it
has been applied before the crash. Outside, a question's id is the interrupt's, followed by ``.n`` where n is
not 0: so an answer that comes late, when the task has gone on to its next question, names another one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.persistence import codec, ledger
from holdfast.persistence.backends import GuardedSaver, threads
from holdfast.persistence.encryption import bindings
from holdfast.persistence.encryption.inline import seal_json
from holdfast.persistence.ids import RunId, ThreadId
from holdfast.persistence.jsonb import storable
from holdfast.persistence.records import Question


def waiting(
    run_id: RunId,
    thread_id: ThreadId,
    interrupts: Sequence[Any],
    nodes: Mapping[str, str],
    allow: frozenset[tuple[str, str]],
    saver: GuardedSaver | None = None,
) -> list[Question]:
    """The questions behind the interrupts that a graph has just stopped with.

    ``saver``: where the checkpoints are, if not in Django's database. ``nodes`` are the names of who asked, by task id. One that hid itself from the timeline, as a graph does
    that is called without its caller's callbacks, goes by its caller's name.
    """
    values = {interrupt.id: interrupt.value for interrupt in interrupts}
    found: dict[str, Question] = {}
    held = _held(thread_id, allow) if saver is None else threads.questions_held(saver, thread_id)
    for each in held:  # deepest namespace first
        for interrupt in each.interrupts:
            if interrupt.id in values and interrupt.id not in found:
                question_id = f"{interrupt.id}.{each.answered}" if each.answered else interrupt.id
                shown = _shown(values[interrupt.id])
                found[interrupt.id] = Question(
                    id=question_id,
                    run_id=run_id,
                    stored=seal_json(shown, bindings.question(run_id, question_id)),
                    node=nodes.get(each.task_id, _caller(each.namespace)),
                    namespace=each.namespace,
                    checkpoint_id=each.checkpoint_id,
                    task_id=each.task_id,
                    answered=each.answered,
                )
    return [found[interrupt_id] for interrupt_id in values if interrupt_id in found]


def to_send(
    thread_id: ThreadId,
    questions: Sequence[Question],
    answers: Mapping[str, Any],
    allow: frozenset[tuple[str, str]],
    saver: GuardedSaver | None = None,
) -> dict[str, Any]:
    """Those of the answers that have not been applied yet, by interrupt id."""
    asked = [question for question in questions if question.id in answers]
    if not asked:
        return {}
    if saver is None:
        open_ = [
            state["newest"]
            and _answers(
                state["type"],
                state["blob"],
                allow,
                (question.namespace, question.checkpoint_id, question.task_id),
            )
            == question.answered
            for question, state in zip(asked, ledger.answer_states(thread_id, asked), strict=True)
        ]
    else:
        open_ = [
            threads.answer_state(saver, thread_id, question.namespace, _interrupt(question))
            == (question.checkpoint_id, question.answered)
            for question in asked
        ]
    return {
        _interrupt(question): answers[question.id]
        for question, is_open in zip(asked, open_, strict=True)
        if is_open
    }


def _held(thread_id: ThreadId, allow: frozenset[tuple[str, str]]) -> list[threads.Held]:
    held = []
    for row in ledger.questions_held(thread_id):
        at = (row["checkpoint_ns"], row["checkpoint_id"], row["task_id"])
        asked = codec.loads(
            row["type"], row["blob"], extra=allow, binding=bindings.write(*at, "__interrupt__")
        )
        answered = _answers(row["resumed_type"], row["resumed_blob"], allow, at)
        held.append(threads.Held(*at, interrupts=asked, answered=answered))
    return held


def _interrupt(question: Question) -> str:
    return question.id.partition(".")[0]


def _caller(namespace: str) -> str:
    """The node that called the graph of this namespace; empty at the root."""
    return namespace.rpartition("|")[2].partition(":")[0]


def _answers(
    type_: str | None, blob: bytes | None, allow: frozenset[tuple[str, str]], at: tuple[str, str, str]
) -> int:
    """How many answers the task has: namespace, checkpoint and task are where they stand."""
    if type_ is None:
        return 0
    given = codec.loads(type_, blob, extra=allow, binding=bindings.write(*at, "__resume__"))
    return len(given) if isinstance(given, list) else 1


def _shown(value: Any) -> Any:
    """The question as JSON, for people, the admin and the command line."""
    try:
        return storable(json.loads(json.dumps(value, allow_nan=False)))
    except (TypeError, ValueError):
        return storable(repr(value))
