"""Runs, steps and effects as plain JSON values, for ``--json`` and for scripts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.persistence.models import Effect
    from holdfast.persistence.records import Question, Run, StepRecord


def dump(value: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """The value with JSON's own types only: times in ISO 8601, what has no JSON form as its repr."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if callable(dumped := getattr(value, "model_dump", None)):  # messages and other pydantic models
        return plain(dumped())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    return str(value) if isinstance(value, UUID) else repr(value)


def run_facts(run: Run, *, payload: bool = True) -> dict[str, Any]:
    """A run; with ``payload`` its input and result too, decoded."""
    facts = {
        "id": str(run.id),
        "graph": run.graph,
        "version": run.version,
        "thread_id": run.thread_id,
        "status": str(run.status),
        "queue": run.queue,
        "priority": run.priority,
        "metadata": run.metadata,
        "idempotency_key": run.idempotency_key,
        "deliveries": run.deliveries,
        "crashes": run.crashes,
        "owner": run.owner,
        "created_at": run.created_at,
        "not_before": run.not_before,
        "deadline": run.deadline,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "error": run.error,
        "questions": [
            {
                "id": question.id,
                "node": question.node,
                "namespace": question.namespace,
                "value": asked_value(question),
            }
            for question in run.questions
        ],
    }
    if payload:
        facts |= {"input": decoded(lambda: run.input), "result": decoded(lambda: run.result)}
    return facts


def decoded(read: Callable[[], Any]) -> Any:
    """The stored value, or in its place why it may not be read (P12)."""
    try:
        return read()
    except HoldfastError as error:
        return {"unreadable": error.message}


def asked_value(question: Question) -> Any:
    """What a question asks, or in its place why it may not be read."""
    return decoded(lambda: question.value)


def step_facts(step: StepRecord) -> dict[str, Any]:
    """One line of the timeline; ``seconds`` is None while it runs."""
    ended = step.finished_at
    return {
        "step": step.step,
        "node": step.node,
        "namespace": step.namespace,
        "task_id": step.task_id,
        "delivery": step.delivery,
        "owner": step.owner,
        "started_at": step.started_at,
        "finished_at": ended,
        "seconds": (ended - step.started_at).total_seconds() if ended else None,
        "outcome": step.outcome,
    }


def effect_facts(effect: Effect) -> dict[str, Any]:
    """One row of the ledger of effects."""
    return {
        "key": effect.key,
        "function": effect.function,
        "kind": effect.kind,
        "state": effect.state,
        "attempts": effect.attempts,
        "call": effect.call,
        "arguments": effect.arguments,
        "begun_at": effect.begun_at,
        "done_at": effect.done_at,
    }


def effects_of(run: Run) -> list[Effect]:
    """The run's rows in the ledger of effects, oldest first."""
    from holdfast.conf import settings
    from holdfast.persistence.models import Effect

    return list(Effect.objects.using(settings().DATABASE).filter(run_id=run.id).order_by("begun_at"))
