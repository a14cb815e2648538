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


@admin.register(NodeCacheEntry)
class NodeCacheAdmin(ReadOnlyAdmin):
    """Cache entries, newest first. Whoever has the delete permission may delete them."""

    list_display = ("in_namespace", "key", "created", "expires", "stored_size")
    list_columns = ("id", "namespace", "key", "created_at", "expires_at")
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
                    "key",
                    ("created", "expires"),
                    "type",
                    "stored_size",
                    "cached_value",
                )
            },
        ),
    )

    created = pieces.moment("created_at", "created")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        sized: QuerySet[Any] = rows.annotate(size=RawSQL("octet_length(holdfast_node_cache.value)", ()))
        return sized

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._permitted(request, "delete")

    @admin.display(description="namespace")
    def in_namespace(self, entry: NodeCacheEntry) -> str:
        return " / ".join(entry.namespace)

    @admin.display(description="expires")
    def expires(self, entry: NodeCacheEntry) -> SafeString | str:
        if entry.expires_at is None:
            return "never"
        return pieces.state("expired") if entry.expires_at < timezone.now() else pieces.when(entry.expires_at)

    @admin.display(description="size")
    def stored_size(self, entry: Any) -> str:
        return pieces.size(entry.size)

    @admin.display(description="value")
    def cached_value(self, entry: NodeCacheEntry) -> SafeString:
        return values.stored(entry.type, entry.value)
