"""The questions of an interrupted run as fields of a page, and what was typed into them.

An answer is JSON, so that ``true`` and ``"true"`` are told apart; an empty field is no answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from holdfast.errors import DecryptionError
from holdfast.persistence import ledger
from holdfast.persistence.ids import RunId
from holdfast.persistence.models import RunRow, RunStatus
from holdfast.persistence.records import Question
from holdfast.runner.admin import values


@dataclass(kw_only=True)
class AskedQuestion:
    """One question of one run, with its field's name, content and error."""

    id: str
    field: str
    shown: str
    node: str
    typed: str = ""
    error: str = ""
    answer: Any = None


@dataclass(kw_only=True)
class Asked:
    """All that one run asks."""

    run_id: UUID
    title: str
    questions: list[AskedQuestion] = field(default_factory=list)

    def read(self, posted: Mapping[str, str]) -> None:
        """Take what was typed; a field that is no JSON keeps its text and gets an error."""
        for question in self.questions:
            question.typed = posted.get(question.field, "")
            if not question.typed.strip():
                continue
            try:
                question.answer = json.loads(question.typed)
            except ValueError as error:
                question.error = f'This is no JSON ({error}). Text goes in quotes: "like this".'

    @property
    def answers(self) -> dict[str, Any]:
        """The answers by question id, those left open omitted."""
        return {q.id: q.answer for q in self.questions if q.typed.strip() and not q.error}


def _shown(question: Question) -> str:
    try:
        return values.text(question.value)
    except DecryptionError as error:
        return f"({error.message})"


def asked(run: RunRow) -> Asked:
    """What the run asks now; no questions if it is not waiting."""
    page = Asked(run_id=run.id, title=f"{run.graph} {run.id}")
    if run.status == RunStatus.INTERRUPTED:
        for question in ledger.get(RunId(run.id)).questions:
            page.questions.append(
                AskedQuestion(
                    id=question.id,
                    field=f"{run.id}:{question.id}",
                    shown=_shown(question),
                    node=question.node,
                )
            )
    return page
