"""What a run's page tells around the fields: its timeline, its effects, and the wish to cancel it.

Reads rows and changes none.
"""

from __future__ import annotations

from typing import Any

from holdfast.conf import settings
from holdfast.persistence.models import CancelRequest, Effect, RunRow, Step, Thread
from holdfast.runner.admin import pieces

TIMELINE_LIMIT = 500  # rows of the timeline on a page, the newest, and of the effects


def story(run: RunRow) -> dict[str, Any]:
    """The template's variables."""
    alias = settings().DATABASE
    newest = list(Step.objects.using(alias).filter(run_id=run.id).order_by("-id")[: TIMELINE_LIMIT + 1])
    steps = newest[:TIMELINE_LIMIT][::-1]
    longest = max((_span(step) for step in steps), default=0.0) or 1.0
    effects = Effect.objects.using(alias).filter(run_id=run.id).order_by("begun_at")
    backend = Thread.objects.using(alias).filter(id=run.thread_id).values_list("backend", flat=True).first()
    return {
        "cancel_request": CancelRequest.objects.using(alias).filter(run_id=run.id).first(),
        "timeline": [
            {
                "step": step,
                "state": pieces.state(_outcome(step, run)),
                "duration": pieces.seconds(step.started_at, step.finished_at),
                "share": round(100 * _span(step) / longest),
                "started": pieces.when(step.started_at),
            }
            for step in steps
        ],
        "timeline_cut": len(newest) > TIMELINE_LIMIT,
        "effects": [
            {
                "page": pieces.page("effect", effect.key, effect.function),
                "effect": effect,
                "state": pieces.state(effect.state),
                "duration": pieces.seconds(effect.begun_at, effect.done_at),
            }
            for effect in effects.defer("result", "arguments")[:TIMELINE_LIMIT]
        ],
        "checkpoints": pieces.checkpoints("Checkpoints", run.thread_id, backend),
    }


def _outcome(step: Step, run: RunRow) -> str:
    """What became of the step; what an earlier delivery left running was lost with its process."""
    return "lost" if step.outcome == "running" and step.delivery < run.deliveries else step.outcome


def _span(step: Step) -> float:
    """Seconds that a step took; 0 while it is running."""
    return (step.finished_at - step.started_at).total_seconds() if step.finished_at else 0.0
