"""The ledger of side effects: what was begun, what is done, and what is in doubt."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from holdfast.conf import settings
from holdfast.persistence import codec
from holdfast.persistence.models import Effect, EffectState, RunRow
from holdfast.runner.admin import pieces, values
from holdfast.runner.admin.base import ModelAdmin, ReadOnlyAdmin

KINDS = ("transactional", "keyed", "at_most_once")


class EffectStateFilter(admin.SimpleListFilter):
    """By state."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in EffectState.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state=self.value()) if self.value() in EffectState.values else queryset


class KindFilter(admin.SimpleListFilter):
    """By the guarantee that the task asked for (P4)."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        return [(kind, kind.replace("_", " ").capitalize()) for kind in KINDS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(kind=self.value()) if self.value() in KINDS else queryset


@admin.register(Effect)
class EffectAdmin(ReadOnlyAdmin):
    """Effects, those of the newest runs first (a run's id begins with its time)."""

    # As in the list of runs: few columns, so that nothing lies beyond 1280 pixels.
    list_display = ("function_and_module", "state_and_kind", "run_and_begun", "took_and_attempts")
    list_columns = ("key", "function", "kind", "state", "run_id", "attempts", "begun_at", "done_at")
    list_filter = (EffectStateFilter, KindFilter)
    search_fields = ("key",)
    search_help_text = "An idempotency key or a run id"
    ordering = ("-run_id", "key")
    sortable_by = ()
    fieldsets = (
        (None, {"fields": ("function", "kind", "shown_state", "of_run", "in_thread", "key", "result_value")}),
        ("Call", {"fields": ("arguments_text", "arguments_hash", "task_id", "call", "attempts")}),
        ("Times", {"fields": (("begun", "done"), "took")}),
    )

    begun = pieces.moment("begun_at", "begun")
    done = pieces.moment("done_at", "done")

    def found(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        wanted = Q(key=term)
        with suppress(ValueError):  # it is a key, then
            wanted |= Q(run_id=UUID(term))
        return rows.filter(wanted)

    @admin.display(description="function, module")
    def function_and_module(self, effect: Effect) -> SafeString:
        module, _, name = effect.function.rpartition(".")
        return pieces.stacked(name, module)

    @admin.display(description="state, kind")
    def state_and_kind(self, effect: Effect) -> SafeString:
        return pieces.stacked(pieces.state(effect.state), effect.kind.replace("_", " "))

    @admin.display(description="run, begun")
    def run_and_begun(self, effect: Effect) -> SafeString:
        return pieces.stacked(self.of_run(effect), pieces.when(effect.begun_at))

    @admin.display(description="took, attempts")
    def took_and_attempts(self, effect: Effect) -> SafeString:
        return pieces.stacked(self.took(effect), effect.attempts)

    @admin.display(description="state")
    def shown_state(self, effect: Effect) -> SafeString:
        return pieces.state(effect.state)

    @admin.display(description="run")
    def of_run(self, effect: Effect) -> SafeString:
        return pieces.run_page(effect.run_id)

    @admin.display(description="thread")
    def in_thread(self, effect: Effect) -> SafeString:
        return pieces.page("thread", effect.thread_id)

    @admin.display(description="took")
    def took(self, effect: Effect) -> str:
        return pieces.seconds(effect.begun_at, effect.done_at)

    @admin.display(description="arguments")
    def arguments_text(self, effect: Effect) -> SafeString:
        return values.block(values.text(effect.arguments)) if effect.arguments else values.empty()

    @admin.display(description="result")
    def result_value(self, effect: Effect) -> SafeString:
        runs = RunRow.objects.using(settings().DATABASE).filter(id=effect.run_id)
        graph = runs.values_list("graph", "version").first()
        allowed = codec.types_of(*graph) if graph else ()
        return values.stored(effect.result_type, effect.result, allowed=allowed)
