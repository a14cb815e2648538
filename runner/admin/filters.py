"""Filters of the lists that cost no scan of the table."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from holdfast.graphs import registry
from holdfast.persistence.models import RunStatus
from holdfast.runner.admin.base import ModelAdmin


class StatusFilter(admin.SimpleListFilter):
    """By status; "needs a person" are the runs that ask and those that failed."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        groups = [("unfinished", "Not ended"), ("attention", "Needs a person")]
        return [*groups, *((str(value), str(label)) for value, label in RunStatus.choices)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if chosen == "unfinished":
            return queryset.filter(status__in=[s for s in RunStatus if not s.ended])
        if chosen == "attention":
            return queryset.filter(status__in=[RunStatus.INTERRUPTED, RunStatus.FAILED])
        return queryset.filter(status=chosen) if chosen in RunStatus.values else queryset


class GraphFilter(admin.SimpleListFilter):
    """By graph, of those that are registered: the table is not asked which names it holds."""

    title = "graph"
    parameter_name = "graph"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted({spec.name for spec in registry.all()})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(graph=self.value()) if self.value() else queryset


class EnqueuedFilter(admin.SimpleListFilter):
    """By the time of enqueuing, which a run's id begins with (UUID version 7)."""

    title = "enqueued"
    parameter_name = "enqueued"
    spans = {
        "hour": timedelta(hours=1),
        "day": timedelta(days=1),
        "week": timedelta(days=7),
        "month": timedelta(days=30),
    }

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        return [(name, f"Past {name}") for name in self.spans]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        span = self.spans.get(self.value() or "")
        if span is None:
            return queryset
        since = int((time.time() - span.total_seconds()) * 1000)
        return queryset.filter(id__gte=UUID(int=since << 80))


class CrashedFilter(admin.SimpleListFilter):
    """Runs that lost a worker at least once, or were held up otherwise."""

    title = "trouble"
    parameter_name = "trouble"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        return [("crashed", "Lost a worker"), ("redelivered", "Delivered more than once")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = {"crashed": Q(crashes__gt=0), "redelivered": Q(deliveries__gt=1)}
        return queryset.filter(wanted.get(self.value() or "", Q()))
