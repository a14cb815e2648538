"""The timeline of a run: written under the fence by its attempts, read by people (P2)."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.persistence.ids import RunId
from holdfast.persistence.ledger.rows import Row
from holdfast.persistence.ledger.statements import alias, execute
from holdfast.persistence.models.runs import Step
from holdfast.persistence.records import Claim, StepRecord


def steps(run_id: RunId) -> list[StepRecord]:
    """The run's timeline, oldest first."""
    rows = Step.objects.using(alias()).filter(run_id=run_id).order_by("started_at", "id")
    return [
        StepRecord(
            run_id=row.run_id,
            delivery=row.delivery,
            step=row.step,
            node=row.node,
            task_id=row.task_id,
            namespace=row.namespace,
            owner=row.owner,
            started_at=row.started_at,
            finished_at=row.finished_at,
            outcome=row.outcome,
        )
        for row in rows
    ]


def record_steps(claim: Claim, lines: Sequence[StepRecord]) -> bool:
    """Write lines of the timeline under the fence; False if the lease is lost (P2)."""
    if not lines:
        return True
    parameters = {**line_parameters(claim, lines), "run_id": claim.run.id, "token": claim.token}
    return bool(execute("step_record", parameters)[0]["count"])


def line_parameters(claim: Claim, lines: Sequence[StepRecord]) -> Row:
    """The lines as parameters of a statement, a list a column."""
    return {
        "delivery": claim.run.deliveries,
        "owner": claim.run.owner,
        "steps": [line.step for line in lines],
        "nodes": [line.node for line in lines],
        "task_ids": [line.task_id for line in lines],
        "namespaces": [line.namespace for line in lines],
        "started": [line.started_at for line in lines],
        "finished": [line.finished_at for line in lines],
        "outcomes": [line.outcome for line in lines],
    }
