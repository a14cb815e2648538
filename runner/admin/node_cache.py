"""Cached values of nodes; deleting one makes the node compute it again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.db.models.expressions import RawSQL
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from holdfast.persistence.models import NodeCacheEntry
from holdfast.runner.admin import pieces, values
from holdfast.runner.admin.base import ReadOnlyAdmin

COUNTS = ("hits", "misses")


@admin.register(NodeCacheEntry)
class NodeCacheAdmin(ReadOnlyAdmin):
    """Cache entries, newest first. Whoever has the delete permission may delete them."""

    # As in the list of runs: few columns, so that nothing lies beyond 1280 pixels.
    list_display = (
        "node_and_version",
        "short_key",
        "created_and_expires",
        "stored_size",
        "took_and_saved",
        "hits_and_misses",
    )
    list_columns = ("id", "namespace", "version", "key", "created_at", "expires_at", "cost", *COUNTS, "saved")
    search_fields = ("key",)
    search_help_text = "A whole key"
    ordering = ("-id",)
    sortable_by = ()
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "in_namespace",
                    "version",
                    "key",
                    ("created", "expires"),
                    "type",
                    "stored_size",
                    "cached_value",
                )
            },
        ),
        ("Use", {"fields": ("took", COUNTS, "saved_time", "used")}),
    )

    created = pieces.moment("created_at", "created")
    used = pieces.moment("used_at", "last used")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        sized: QuerySet[Any] = rows.annotate(size=RawSQL("octet_length(holdfast_node_cache.value)", ()))
        return sized

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._permitted(request, "delete")

    @admin.display(description="node, version")
    def node_and_version(self, entry: NodeCacheEntry) -> SafeString:
        """LangGraph's namespace without its own first part, which all nodes share."""
        parts = [part for part in entry.namespace if not part.startswith("__pregel")] or entry.namespace
        return pieces.stacked(" / ".join(parts), entry.version)

    @admin.display(description="key")
    def short_key(self, entry: NodeCacheEntry) -> SafeString:
        return pieces.short(entry.key)

    @admin.display(description="computing took, has saved")
    def took_and_saved(self, entry: NodeCacheEntry) -> SafeString:
        return pieces.stacked(self.took(entry), self.saved_time(entry))

    @admin.display(description="hits, misses")
    def hits_and_misses(self, entry: NodeCacheEntry) -> SafeString:
        return pieces.stacked(entry.hits, entry.misses)

    @admin.display(description="created, expires")
    def created_and_expires(self, entry: NodeCacheEntry) -> SafeString:
        return pieces.stacked(pieces.when(entry.created_at), self.expires(entry))

    @admin.display(description="namespace")
    def in_namespace(self, entry: NodeCacheEntry) -> str:
        return " / ".join(entry.namespace)

    @admin.display(description="expires")
    def expires(self, entry: NodeCacheEntry) -> SafeString | str:
        if entry.expires_at is None:
            return "never"
        return pieces.state("expired") if entry.expires_at < timezone.now() else pieces.when(entry.expires_at)

    @admin.display(description="computing took")
    def took(self, entry: NodeCacheEntry) -> str:
        return pieces.span(entry.cost)

    @admin.display(description="has saved")
    def saved_time(self, entry: NodeCacheEntry) -> str:
        return pieces.span(entry.saved)

    @admin.display(description="size")
    def stored_size(self, entry: Any) -> str:
        return pieces.size(entry.size)

    @admin.display(description="value")
    def cached_value(self, entry: NodeCacheEntry) -> SafeString:
        return values.stored(entry.type, entry.value)
