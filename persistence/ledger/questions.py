"""What stands in the checkpoints of the questions that an attempt asks, and of those asked before (P13)."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.persistence.ids import ThreadId
from holdfast.persistence.ledger.rows import Row
from holdfast.persistence.ledger.statements import execute, retried
from holdfast.persistence.records import Question


def questions_held(thread_id: ThreadId) -> list[Row]:
    """The interrupts on the newest checkpoint of each namespace, deepest first, with their tasks' answers."""
    return retried(lambda: execute("run_questions_held", {"thread_id": thread_id}))


def answer_states(thread_id: ThreadId, questions: Sequence[Question]) -> list[Row]:
    """Where each question stands now: ``newest``, and its task's answers so far (``type``, ``blob``)."""
    parameters = {
        "thread_id": thread_id,
        "namespaces": [question.namespace for question in questions],
        "checkpoints": [question.checkpoint_id for question in questions],
        "tasks": [question.task_id for question in questions],
    }
    rows = retried(lambda: execute("run_answer_states", parameters))
    return sorted(rows, key=lambda row: int(row["position"]))
