"""Items of the long-term store: what graphs have remembered. Read-only; values are cut and escaped."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from holdfast.persistence.encryption import bindings
from holdfast.persistence.encryption.inline import open_json
from holdfast.persistence.models import StoreItemView
from holdfast.runner.admin import pieces, values
from holdfast.runner.admin.base import ReadOnlyAdmin


@admin.register(StoreItemView)
class StoreItemAdmin(ReadOnlyAdmin):
    """Items by namespace and key, which is the order of the table's index."""

    list_display = ("namespace", "key", "updated", "expires", "stored_size")
    list_columns = ("id", "prefix", "key", "updated_at", "expires_at", "size")
    list_display_links = ("key",)
    search_fields = ("prefix",)
    search_help_text = "A whole namespace, its labels joined by dots"
    ordering = ("prefix", "key")
    sortable_by = ()
    fieldsets = (
        (
            None,
            {"fields": ("namespace", "key", ("created", "updated"), "expires", "stored_size", "value_text")},
        ),
    )

    created = pieces.moment("created_at", "created")
    updated = pieces.moment("updated_at", "updated")

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> StoreItemView | None:
        """By namespace and key, which an index finds, and not by the id, which needs a scan."""
        parts = StoreItemView.parts(object_id)
        if parts is None:
            return None
        prefix, key = parts
        found: StoreItemView | None = self.get_queryset(request).filter(prefix=prefix, key=key).first()
        return found

    @admin.display(description="namespace")
    def namespace(self, item: StoreItemView) -> str:
        return " / ".join(item.prefix.split("."))

    @admin.display(description="expires")
    def expires(self, item: StoreItemView) -> SafeString | str:
        if item.expires_at is None:
            return "never"
        return pieces.state("expired") if item.expires_at < timezone.now() else pieces.when(item.expires_at)

    @admin.display(description="size")
    def stored_size(self, item: StoreItemView) -> str:
        return pieces.size(item.size)

    @admin.display(description="value")
    def value_text(self, item: Any) -> SafeString:
        if item.size > values.MAX_BYTES:
            return values.note(f"{item.size:,} bytes: too large to be shown here.")
        return values.opened(lambda: open_json(item.value, bindings.item(item.prefix, item.key)))
