"""Resume: an answer to what a run asks, applied once and to the question it names (P13, R7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.db import transaction

from holdfast import faults
from holdfast.errors import RunNotWaitingError, UnknownQuestionError
from holdfast.persistence import codec, ledger
from holdfast.persistence.encryption import bindings
from holdfast.persistence.ids import RunId
from holdfast.persistence.models.runs import RunStatus
from holdfast.persistence.records import Run
from holdfast.runner import dispatch

_ID = re.compile(r"[0-9a-f]{32}(\.[0-9]+)?")


def resume(run_id: RunId, answer: Any) -> Run:
    """Queue an interrupted run with the answer: a plain one, or ``{question id: answer}``.

    Raises RunNotFoundError, RunNotWaitingError, UnknownQuestionError, NotSerializableError.
    """
    run = ledger.get(run_id)
    if run.status is not RunStatus.INTERRUPTED:
        raise RunNotWaitingError(
            f"Run {run_id} is {run.status} and asks nothing; only an interrupted run can be answered.",
            run_id=run_id,
            status=run.status,
        )
    given = _by_question(run, answer)
    allowed = codec.types_of(run.graph, run.version)
    answers = codec.dumps(given, field="answer", extra=allowed, binding=bindings.run("answers", run_id))
    with transaction.atomic(using=ledger.alias()):
        queued = ledger.answer(run, answers, to=given.keys())
        if queued is None:  # it was answered or cancelled since we looked
            now = ledger.get(run_id)
            raise RunNotWaitingError(
                f"Run {run_id} was answered or ended by somebody else meanwhile; it is {now.status} now.",
                run_id=run_id,
                status=now.status,
            )
        transaction.on_commit(lambda: _ring(queued), using=ledger.alias(), robust=True)
        faults.point("resume-before-commit")
    return queued


def _ring(run: Run) -> None:
    faults.point("resume-after-commit")
    dispatch.ring(ledger.bell(run))


def _by_question(run: Run, answer: Any) -> dict[str, Any]:
    asked = {question.id for question in run.questions}
    if isinstance(answer, Mapping) and answer and all(_looks_like_an_id(key) for key in answer):
        if unknown := sorted(set(answer) - asked):
            raise UnknownQuestionError(
                f"Run {run.id} does not ask {unknown[0]!r}; it asks {', '.join(sorted(asked))}.",
                run_id=run.id,
                status=run.status,
                unknown=unknown,
                asked=sorted(asked),
            )
        return dict(answer)
    if len(asked) != 1:
        raise UnknownQuestionError(
            f"Run {run.id} asks {len(asked)} questions: answer with {{question id: answer}}; the ids are "
            f"{', '.join(sorted(asked))}.",
            run_id=run.id,
            status=run.status,
            unknown=[],
            asked=sorted(asked),
        )
    return {next(iter(asked)): answer}


def _looks_like_an_id(key: object) -> bool:
    """LangGraph's interrupt ids are 32 hexadecimal digits (xxh3-128); ours may have a number behind."""
    return isinstance(key, str) and _ID.fullmatch(key) is not None
