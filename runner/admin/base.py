"""What all pages share: read-only, on Holdfast's database, and at home with very large tables.

Never counts a whole table, never loads a stored value for a list, and never saves a model.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse

from holdfast.conf import settings

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

COUNT_LIMIT = 10_000  # rows; beyond, a list says no more than that there are this many


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # generic in its stubs only
    """Counts at most COUNT_LIMIT rows: an exact count of a large table takes minutes."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        assert isinstance(rows, QuerySet)
        return int(rows.order_by().values("pk")[:COUNT_LIMIT].count())


class ReadOnlyAdmin(ModelAdmin):
    """A list and a page of each row. Needs the view permission; adds, changes and deletes nothing."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each facet would count the table
    list_per_page = 50
    empty_value_display = "—"
    list_max_show_all = 0
    list_columns: tuple[str, ...] = ()
    """The model's fields that a list reads; all others, large values among them, stay in the database."""

    class Media:
        css = {"all": ("holdfast/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).using(settings().DATABASE)
        match = request.resolver_match
        if match is not None and match.url_name == f"{self.opts.app_label}_{self.opts.model_name}_changelist":
            return rows.only(*self.list_columns)
        return rows

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (self.found(queryset, term) if term else queryset), False

    def found(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        """The rows that somebody looks for: only ever by what an index finds."""
        (column,) = self.search_fields
        return rows.filter(**{column: term})

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the template of a row's page gets besides its fields."""
        return {}

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        more = {} if obj is None else self.page_context(request, obj)
        return super().render_change_form(request, {**context, **more}, add, change, form_url, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        names: list[str] = []
        for _, options in self.get_fieldsets(request, obj):
            for entry in options["fields"]:
                names.extend([entry] if isinstance(entry, str) else entry)
        return tuple(names)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """With the permission to view or to change, as the rest of Django's admin has it."""
        return any(self._permitted(request, action) for action in ("view", "change"))

    def _permitted(self, request: HttpRequest, action: str) -> bool:
        return bool(request.user.has_perm(f"{self.opts.app_label}.{action}_{self.opts.model_name}"))

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's record of what was done here, which lies in the database of its own log."""
        return super().history_view(request, object_id, extra_context)
