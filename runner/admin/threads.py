"""Threads: which runs followed each other on each, and who holds it now."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from holdfast.conf import settings
from holdfast.persistence.models import RunRow, Thread
from holdfast.persistence.sizes import size_of
from holdfast.runner.admin import pieces, values
from holdfast.runner.admin.base import ReadOnlyAdmin

RUNS_SHOWN = 50  # newest runs on a thread's page


@admin.register(Thread)
class ThreadAdmin(ReadOnlyAdmin):
    """Threads in the order of their ids, each with its newest run and its holder."""

    list_display = ("id", "created", "newest_run", "newest_state", "held_by")
    list_columns = ("id", "created_at", "backend")
    search_fields = ("id",)
    search_help_text = "The beginning of a thread id"
    ordering = ("id",)
    sortable_by = ("id",)
    fieldsets = ((None, {"fields": ("id", "created", "held_by", "checkpoints", "size", "runs")}),)

    created = pieces.moment("created_at", "created")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        newest = RunRow.objects.filter(thread_id=OuterRef("pk")).order_by("-id")
        holder = RunRow.objects.filter(thread_id=OuterRef("pk"), holds_thread=True)
        rows: QuerySet[Any] = (
            super()
            .get_queryset(request)
            .annotate(
                newest_id=Subquery(newest.values("id")[:1]),
                newest_status=Subquery(newest.values("status")[:1]),
                holder_id=Subquery(holder.values("id")[:1]),
            )
        )
        return rows

    def found(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(id__startswith=term)

    @admin.display(description="newest run")
    def newest_run(self, thread: Any) -> SafeString:
        return pieces.run_page(thread.newest_id)

    @admin.display(description="its status")
    def newest_state(self, thread: Any) -> SafeString:
        return pieces.state(thread.newest_status) if thread.newest_status else values.empty()

    @admin.display(description="held by")
    def held_by(self, thread: Any) -> SafeString:
        return pieces.run_page(thread.holder_id)

    @admin.display(description="checkpoints")
    def checkpoints(self, thread: Thread) -> SafeString:
        return pieces.checkpoints("Checkpoints of this thread", thread.id, thread.backend)

    @admin.display(description="size")
    def size(self, thread: Thread) -> SafeString:
        """Looked up for this page only: it reads as much as the newest checkpoint holds."""
        size = size_of(thread.id)
        if not size.checkpoints:
            return values.empty()
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            (
                (
                    each.name,
                    pieces.size(each.bytes),
                    "more than LARGE_CHANNEL" if each.name in size.large else "",
                )
                for each in size.channels
            ),
        )
        return format_html(
            "<p>{} checkpoints take {}; the newest has {}, read in {} ms. Its largest channels:</p>"
            '<table class="holdfast-table"><tbody>{}</tbody></table>',
            size.checkpoints,
            pieces.size(size.bytes),
            pieces.size(size.newest_bytes),
            f"{size.read_seconds * 1000:.1f}",
            rows,
        )

    @admin.display(description="runs")
    def runs(self, thread: Thread) -> SafeString:
        columns = ("id", "status", "graph", "version", "created_at", "started_at", "finished_at")
        runs = RunRow.objects.using(settings().DATABASE).filter(thread_id=thread.id).order_by("-id")
        rows = format_html_join(
            "",
            '<tr><td class="holdfast-name">{}</td><td class="holdfast-outcome">{}</td><td>{} ({})</td>'
            '<td data-label="enqueued">{}</td><td data-label="took">{}</td></tr>',
            (
                (
                    pieces.page("runrow", run.id),
                    pieces.state(run.status),
                    run.graph,
                    run.version,
                    pieces.when(run.created_at),
                    pieces.seconds(run.started_at, run.finished_at),
                )
                for run in runs.only(*columns)[:RUNS_SHOWN]
            ),
        )
        if not rows:
            return values.empty()
        heading = mark_safe(
            "<tr><th>Run</th><th>Status</th><th>Graph</th><th>Enqueued</th><th>Took</th></tr>"
        )
        return format_html(
            '<table class="holdfast-table"><thead>{}</thead><tbody>{}</tbody></table>', heading, rows
        )
