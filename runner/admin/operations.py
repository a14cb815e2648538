"""Retry, cancel and answer as actions of the list of runs and as buttons on a run's page.

They need the change permission, call the public API and nothing else, and show its typed errors as
messages. Each run's operation is a transaction of its own: one that is refused undoes no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

import holdfast
from holdfast.conf import settings
from holdfast.errors import HoldfastError
from holdfast.persistence.models import RunRow, RunStatus
from holdfast.runner.admin import pieces
from holdfast.runner.admin.base import ModelAdmin
from holdfast.runner.admin.questions import Asked, asked

if TYPE_CHECKING:
    Base = ModelAdmin
else:
    Base = object

ANSWER_LIMIT = 20  # runs on one page of questions


def possible(run: RunRow) -> list[tuple[str, str]]:
    """The (action, label) pairs that make sense in the run's status."""
    if run.status == RunStatus.INTERRUPTED:
        return [("answer_runs", "Answer"), ("cancel_runs", "Cancel")]
    if run.status in {RunStatus.FAILED, RunStatus.CANCELLED}:
        return [("retry_runs", "Retry")]
    return [] if RunStatus(run.status).ended else [("cancel_runs", "Cancel")]


class RunOperations(Base):
    """The actions. A POST with ``holdfast_page`` came from a run's page and leads back to it."""

    actions = ("retry_runs", "cancel_runs", "answer_runs")

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether the user may act on runs: the permission to change them."""
        return bool(request.user.has_perm(f"{pieces.APP}.change_runrow"))

    @admin.action(description="Retry the selected runs", permissions=["operate"])
    def retry_runs(self, request: HttpRequest, queryset: QuerySet[RunRow]) -> HttpResponse | None:
        self._each(request, queryset, "Retried", lambda run: holdfast.retry(run.id))
        return _back(request)

    @admin.action(description="Cancel the selected runs…", permissions=["operate"])
    def cancel_runs(self, request: HttpRequest, queryset: QuerySet[RunRow]) -> HttpResponse | None:
        if "holdfast_confirmed" not in request.POST:
            return self._ask(request, "holdfast/admin/cancel.html", "Cancel runs", {"runs": queryset})
        rollback = "rollback" in request.POST
        word = "Asked to cancel and roll back" if rollback else "Asked to cancel"
        self._each(request, queryset, word, lambda run: holdfast.cancel(run.id, rollback=rollback))
        return _back(request)

    @admin.action(description="Answer the questions of the selected runs…", permissions=["operate"])
    def answer_runs(self, request: HttpRequest, queryset: QuerySet[RunRow]) -> HttpResponse | None:
        runs = {run.id: run for run in queryset[:ANSWER_LIMIT]}
        pages = [page for run in runs.values() if (page := asked(run)).questions]
        if not pages:
            self.message_user(request, "None of the selected runs asks anything.", messages.WARNING)
            return _back(request)
        if "holdfast_confirmed" not in request.POST:
            return self._questions(request, pages)
        for page in pages:
            page.read(request.POST)
        if any(question.error for page in pages for question in page.questions):
            return self._questions(request, pages)
        answers = {page.run_id: page.answers for page in pages if page.answers}
        if not answers:
            self.message_user(request, "No question was answered.", messages.WARNING)
            return self._questions(request, pages)
        self._each(
            request,
            [runs[run_id] for run_id in answers],
            "Answered",
            lambda run: holdfast.resume(run.id, answers[run.id]),
        )
        return _back(request)

    def _each(
        self, request: HttpRequest, runs: Iterable[RunRow], done: str, operate: Callable[[RunRow], object]
    ) -> None:
        """Do it for every run, each in a transaction of its own, and say what came of it."""
        for run in runs:
            link = pieces.page("runrow", run.id)
            try:
                with transaction.atomic(using=settings().DATABASE):
                    operate(run)
            except HoldfastError as error:
                text = format_html("{}: {} ({})", link, error.message, type(error).__name__)
                self.message_user(request, text, messages.ERROR)
            else:
                self.log_change(request, run, f"{done}.")
                self.message_user(request, format_html("{} {}.", done, link), messages.SUCCESS)

    def _questions(self, request: HttpRequest, pages: list[Asked]) -> HttpResponse:
        return self._ask(request, "holdfast/admin/answer.html", "Answer questions", {"pages": pages})

    def _ask(self, request: HttpRequest, template: str, title: str, context: dict[str, Any]) -> HttpResponse:
        """A page between the choice of an action and its execution, which posts to the list again."""
        return TemplateResponse(
            request,
            template,
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": title,
                "media": self.media,
                "action": request.POST["action"],
                "checkbox": ACTION_CHECKBOX_NAME,
                "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
                "holdfast_page": request.POST.get("holdfast_page", ""),
                **context,
            },
        )


def _back(request: HttpRequest) -> HttpResponse | None:
    """To the run's page if the operation was begun there; None leads back to the list."""
    try:
        run_id = UUID(request.POST.get("holdfast_page", ""))
    except ValueError:
        return None
    return HttpResponseRedirect(reverse(f"admin:{pieces.APP}_runrow_change", args=[run_id]))
