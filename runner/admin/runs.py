"""The list of runs, and each run's page: what was asked, what it did, what can be done about it.

Reads rows; whatever changes a run goes through the public API (see operations.py).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from holdfast.persistence import codec, ledger
from holdfast.persistence.encryption.salted import opened_config
from holdfast.persistence.models import RunRow, RunStatus, Thread
from holdfast.runner.admin import pieces, values
from holdfast.runner.admin.base import ReadOnlyAdmin
from holdfast.runner.admin.filters import CrashedFilter, EnqueuedFilter, GraphFilter, StatusFilter
from holdfast.runner.admin.operations import RunOperations, possible
from holdfast.runner.admin.questions import asked
from holdfast.runner.admin.story import story


@admin.register(RunRow)
class RunAdmin(RunOperations, ReadOnlyAdmin):
    """Runs, newest first."""

    change_form_template = "holdfast/admin/run.html"
    # Few columns of two lines each: beside the filters and the menu, 1280 pixels leave 600 for them.
    list_display = ("run", "graph_and_thread", "enqueued_and_took", "news")
    list_columns = (
        "id", "status", "graph", "version", "thread_id", "owner", "deliveries", "crashes",
        "created_at", "started_at", "finished_at", "not_before", "error",
    )  # fmt: skip
    list_display_links = ("run",)
    list_filter = (StatusFilter, GraphFilter, EnqueuedFilter, CrashedFilter)
    search_fields = ("id",)
    search_help_text = "A run id, an idempotency key, or the beginning of a thread id"
    ordering = ("-id",)
    sortable_by = ("run",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "whole_id",
                    "state",
                    "graph_version",
                    "in_thread",
                    "questions_asked",
                    "error_text",
                    "result_value",
                )
            },
        ),
        (
            "Request",
            {"fields": ("input_value", "context_value", "config_text", "metadata_text", "idempotency_key")},
        ),
        (
            "Times",
            {"fields": (("enqueued", "due"), ("started", "ended"), ("took", "deadline_at"))},
        ),
        (
            "Delivery",
            {
                "classes": ("collapse",),
                "fields": (
                    ("owner", "renewed"),
                    ("deliveries", "crashes"),
                    ("queue", "priority"),
                    ("multitask_strategy", "holds_thread"),
                    ("rung", "rings"),
                    "draining",
                ),
            },
        ),
    )

    enqueued = pieces.moment("created_at", "enqueued")
    due = pieces.moment("not_before", "not before")
    started = pieces.moment("started_at", "started")
    ended = pieces.moment("finished_at", "ended")
    deadline_at = pieces.moment("deadline", "deadline")
    renewed = pieces.moment("renewed_at", "lease renewed")
    rung = pieces.moment("rung_at", "bell rung")

    def get_fieldsets(self, request: HttpRequest, obj: RunRow | None = None) -> Any:
        """Without the fields that tell nothing of this run."""
        if obj is None:
            return list(self.fieldsets)
        absent = {
            name
            for name, there in (
                ("questions_asked", obj.status == RunStatus.INTERRUPTED),
                ("error_text", obj.error),
                ("result_value", obj.result_type is not None),
                ("context_value", obj.context_type not in {None, "null"}),
                ("config_text", obj.config),
                ("metadata_text", obj.metadata),
                ("idempotency_key", obj.idempotency_key),
            )
            if not there
        }
        return [
            (title, {**options, "fields": tuple(name for name in options["fields"] if name not in absent)})
            for title, options in self.fieldsets
        ]

    def found(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        runs = RunRow.objects.using(rows.db).order_by()
        try:
            named = runs.filter(id=UUID(term))
        except ValueError:
            named = runs.filter(idempotency_key=term)
        threads = Thread.objects.using(rows.db).filter(id__startswith=term)
        on_thread = runs.filter(thread__in=threads.values("pk"))
        # A union, since an OR of the two would scan the table: each has an index of its own.
        return rows.filter(pk__in=named.values("pk").union(on_thread.values("pk")))

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        operations = possible(row) if self.has_operate_permission(request) else ()
        return {**story(row), "operations": operations}

    @admin.display(description="run", ordering="id")
    def run(self, run: RunRow) -> SafeString:
        return pieces.stacked(pieces.short(run.id), pieces.state(run.status))

    @admin.display(description="graph, thread")
    def graph_and_thread(self, run: RunRow) -> SafeString:
        return pieces.stacked(self.graph_version(run), self.in_thread(run))

    @admin.display(description="enqueued, took")
    def enqueued_and_took(self, run: RunRow) -> SafeString:
        return pieces.stacked(pieces.when(run.created_at), self.took(run))

    @admin.display(description="news")
    def news(self, run: RunRow) -> SafeString:
        """What went wrong, or who executes it, and what it took."""
        counted = [f"{run.deliveries} deliveries"] if run.deliveries > 1 else []
        if run.crashes:
            counted.append(f"{run.crashes} {'crash' if run.crashes == 1 else 'crashes'}")
        told = values.cut(_error_line(_error(run)), 90) or run.owner or ""
        return pieces.stacked(told, ", ".join(counted))

    @admin.display(description="run")
    def whole_id(self, run: RunRow) -> str:
        return str(run.id)

    @admin.display(description="status")
    def state(self, run: RunRow) -> SafeString:
        return pieces.state(run.status)

    @admin.display(description="graph")
    def graph_version(self, run: RunRow) -> str:
        return f"{run.graph} ({run.version})"

    @admin.display(description="thread")
    def in_thread(self, run: RunRow) -> SafeString:
        return pieces.page("thread", run.thread_id, pieces.short(run.thread_id))

    @admin.display(description="took")
    def took(self, run: RunRow) -> str:
        """From the first claim to the end, waiting for answers included."""
        return pieces.seconds(run.started_at, run.finished_at)

    @admin.display(description="error")
    def error_text(self, run: RunRow) -> SafeString:
        error = _error(run)
        if error is None:
            return values.empty()
        trace = error.get("traceback") if isinstance(error, dict) else None
        if not isinstance(trace, str):
            return values.block(values.text(error))
        told = {"type", "message", "where", "traceback"}
        rest = {name: value for name, value in error.items() if name not in told}
        where = f"\nat {error['where']}" if error.get("where") else ""
        lines = [_error_line(error) + where, *([values.text(rest)] if rest else []), trace]
        return values.block(values.cut("\n\n".join(lines), values.MAX_TEXT))

    @admin.display(description="questions")
    def questions_asked(self, run: RunRow) -> SafeString:
        if run.status != RunStatus.INTERRUPTED or not run.questions:
            return values.empty()
        return format_html_join("", "{}", ((values.block(q.shown),) for q in asked(run).questions))

    @admin.display(description="result")
    def result_value(self, run: RunRow) -> SafeString:
        return _stored(run, run.result_type, run.result)

    @admin.display(description="input")
    def input_value(self, run: RunRow) -> SafeString:
        return _stored(run, run.input_type, run.input)

    @admin.display(description="context")
    def context_value(self, run: RunRow) -> SafeString:
        return _stored(run, run.context_type, run.context)

    @admin.display(description="config")
    def config_text(self, run: RunRow) -> SafeString:
        return values.opened(lambda: opened_config(run.config, run.id).config)

    @admin.display(description="metadata")
    def metadata_text(self, run: RunRow) -> SafeString:
        return values.block(values.text(run.metadata)) if run.metadata else values.empty()


def _stored(run: RunRow, type_: str | None, data: bytes | memoryview | None) -> SafeString:
    """A value of the run, which may have the types that its graph declares."""
    return values.stored(type_, data, allowed=codec.types_of(run.graph, run.version))


def _error(run: RunRow) -> Any:
    """The stored error, opened where it is encrypted."""
    return ledger.shown_error(run.error, run.id)


def _error_line(error: object) -> str:
    """Type and message of a stored error, which is whatever JSON the row holds."""
    if not isinstance(error, dict):
        return "" if error is None else str(error)
    if error.get("type") == "Cancelled":  # no exception, and the status says as much
        return str(error.get("message", ""))
    return ": ".join(str(error[name]) for name in ("type", "message") if error.get(name))
