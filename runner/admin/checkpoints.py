"""Checkpoints of every thread, ours and those of a stock saver, with their channels and pending writes.

State is what graphs, models and users wrote: it is decoded by the strict codec, cut, escaped.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from holdfast.conf import settings
from holdfast.persistence import codec
from holdfast.persistence.encryption.inline import open_rest
from holdfast.persistence.models import CheckpointChannelView, CheckpointView, CheckpointWriteView, RunRow
from holdfast.runner.admin import pieces, values
from holdfast.runner.admin.base import ReadOnlyAdmin

CHANNELS_SHOWN = 200  # channels, and pending writes, on a checkpoint's page
BYTES_SHOWN = 4_000_000  # stored bytes that a page reads in all; beyond, only sizes are shown


class EqualFilter(admin.SimpleListFilter):
    """Keeps a column's value in the address of a list without offering any, since that takes a scan."""

    parameter_name = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(chosen, chosen)] if (chosen := self.value()) is not None else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return queryset if chosen is None else queryset.filter(**{self.parameter_name: chosen})


class ThreadFilter(EqualFilter):
    """One thread."""

    title = "thread"
    parameter_name = "thread_id"


class NamespaceFilter(EqualFilter):
    """One namespace of a thread; the empty one is the root."""

    title = "namespace"
    parameter_name = "checkpoint_ns"


@admin.register(CheckpointView)
class CheckpointAdmin(ReadOnlyAdmin):
    """Checkpoints by thread; of one thread, the newest first."""

    change_form_template = "holdfast/admin/checkpoint.html"
    list_display = ("short_id", "short_thread", "namespace", "step", "source", "written", "stored_size")
    list_columns = ("key", "thread_id", "checkpoint_ns", "checkpoint_id", "step", "source", "ts", "size")
    list_display_links = ("short_id",)
    list_filter = (ThreadFilter, NamespaceFilter)
    search_fields = ("thread_id",)
    search_help_text = "A whole thread id"
    sortable_by = ()
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "in_thread",
                    "namespace",
                    "id_shown",
                    "parent",
                    ("step", "source"),
                    ("written", "stored_size"),
                    "metadata_text",
                )
            },
        ),
    )

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """In the order of the primary key's index; turned round where one thread is asked for."""
        if request.GET.get("thread_id") or request.GET.get("q"):
            return ("-checkpoint_id", "checkpoint_ns")
        return ("thread_id", "checkpoint_ns", "checkpoint_id")

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> CheckpointView | None:
        """By the parts of the key, which an index finds, and not by the key, which needs a scan."""
        parts = CheckpointView.parts(object_id)
        if parts is None:
            return None
        thread_id, checkpoint_ns, checkpoint_id = parts
        found: CheckpointView | None = (
            self.get_queryset(request)
            .filter(thread_id=thread_id, checkpoint_ns=checkpoint_ns, checkpoint_id=checkpoint_id)
            .first()
        )
        return found

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return _content(row)

    @admin.display(description="thread")
    def in_thread(self, row: CheckpointView) -> SafeString:
        return pieces.listing("checkpointview", row.thread_id, thread_id=row.thread_id)

    @admin.display(description="thread")
    def short_thread(self, row: CheckpointView) -> SafeString:
        return pieces.listing("checkpointview", pieces.short(row.thread_id), thread_id=row.thread_id)

    @admin.display(description="checkpoint")
    def short_id(self, row: CheckpointView) -> SafeString:
        return pieces.short(row.checkpoint_id)

    @admin.display(description="namespace")
    def namespace(self, row: CheckpointView) -> SafeString | str:
        return row.checkpoint_ns or values.empty()

    @admin.display(description="checkpoint")
    def id_shown(self, row: CheckpointView) -> str:
        return row.checkpoint_id

    @admin.display(description="parent")
    def parent(self, row: CheckpointView) -> SafeString:
        if row.parent_checkpoint_id is None:
            return values.empty()
        key = CheckpointView.make_key(row.thread_id, row.checkpoint_ns, row.parent_checkpoint_id)
        return pieces.page("checkpointview", key, row.parent_checkpoint_id)

    @admin.display(description="written")
    def written(self, row: CheckpointView) -> str:
        return values.cut(row.ts or "—", 19).partition("…")[0].replace("T", " ")

    @admin.display(description="size")
    def stored_size(self, row: CheckpointView) -> str:
        return pieces.size(row.size)

    @admin.display(description="metadata")
    def metadata_text(self, row: CheckpointView) -> SafeString:
        return values.opened(
            lambda: open_rest(row.metadata) if isinstance(row.metadata, dict) else row.metadata
        )


def _content(row: CheckpointView) -> dict[str, Any]:
    """Channels and pending writes of a checkpoint, decoded with the types of the graphs that ran there."""
    alias = settings().DATABASE
    place = {
        "thread_id": row.thread_id,
        "checkpoint_ns": row.checkpoint_ns,
        "checkpoint_id": row.checkpoint_id,
    }
    runs = RunRow.objects.using(alias).filter(thread_id=row.thread_id)
    graphs = set(runs.order_by("-id").values_list("graph", "version")[:50])
    allowed = frozenset().union(*(codec.types_of(*graph) for graph in graphs))
    channels = CheckpointChannelView.objects.using(alias).filter(**place).order_by("channel")
    writes = CheckpointWriteView.objects.using(alias).filter(**place)
    inline = row.checkpoint.get("channel_values") if isinstance(row.checkpoint, dict) else None
    shown = [
        {
            "name": str(name),
            "mark": "",
            "type": "inline",
            "size": "",
            "value": values.block(values.text(value)),
        }
        for name, value in (inline.items() if isinstance(inline, dict) else ())
    ]
    stored = _decoded(channels, "version", allowed)
    return {
        "channels": sorted([*shown, *stored], key=lambda entry: str(entry["name"]))[:CHANNELS_SHOWN],
        "writes": _decoded(writes.order_by("task_path", "task_id", "idx"), "task_id", allowed),
        "limit": CHANNELS_SHOWN,
    }


def _decoded(rows: QuerySet[Any], mark: str, allowed: values.Allowed) -> list[dict[str, Any]]:
    """Channel, mark, type, size and value of each row; values only while the page has room for their bytes."""
    left = BYTES_SHOWN
    entries = []
    keys = list(rows.defer("blob")[:CHANNELS_SHOWN])
    wanted = []
    for row in keys:
        left -= row.size
        if left > 0 and row.size <= values.MAX_BYTES:
            wanted.append(row.key)
    blobs = dict(rows.filter(key__in=wanted).values_list("key", "blob")) if wanted else {}
    for row in keys:
        value = (
            values.stored(row.type, blobs[row.key], allowed=allowed)
            if row.key in blobs
            else values.note("Too large to be shown here.")
        )
        entries.append(
            {
                "name": row.channel,
                "mark": getattr(row, mark),
                "type": row.type,
                "size": pieces.size(row.size),
                "value": value,
            }
        )
    return entries
