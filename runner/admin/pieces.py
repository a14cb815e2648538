"""Small pieces that several pages use: links, states, times. All of their HTML is escaped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

from holdfast.runner.admin.values import empty

APP = "holdfast_persistence"


def state(value: str) -> SafeString:
    """A status, outcome or effect state as a coloured word."""
    word = "".join(character if character.isalnum() else "-" for character in value)
    return format_html(
        '<span class="holdfast-state holdfast-state-{}">{}</span>', word, value.replace("_", " ")
    )


def page(model: str, key: object, shown: object = None) -> SafeString:
    """A link to a row's page; ``model`` in lower case."""
    url = reverse(f"admin:{APP}_{model}_change", args=[quote(str(key))])
    return format_html('<a href="{}">{}</a>', url, key if shown is None else shown)


def run_page(run_id: object) -> SafeString:
    """A link to a run's page, or what stands for none."""
    return page("runrow", run_id, short(run_id)) if run_id else empty()


def short(identifier: object) -> SafeString:
    """An id's beginning and end, which tell neighbours apart; the whole of it on hovering."""
    whole = str(identifier)
    shown = whole if len(whole) <= 20 else f"{whole[:8]}…{whole[-6:]}"
    return format_html('<span class="holdfast-id" title="{}">{}</span>', whole, shown)


def stacked(upper: object, lower: object) -> SafeString:
    """Two lines of one cell."""
    return format_html('{}<div class="holdfast-under">{}</div>', upper, lower)


def listing(model: str, shown: object, **filters: object) -> SafeString:
    """A link to a list with filters."""
    url = reverse(f"admin:{APP}_{model}_changelist")
    return format_html('<a href="{}?{}">{}</a>', url, urlencode(filters), shown)


def checkpoints(shown: str, thread_id: str, backend: str | None) -> SafeString:
    """A link to a thread's checkpoints; where they are not in this database, the words that they are elsewhere."""
    if backend is None:
        return listing("checkpointview", shown, thread_id=thread_id)
    return format_html("{}: in {}, where holdfast.state and holdfast.history see them", shown, backend)


def when(at: datetime | None) -> SafeString:
    """A time to the second, with the microsecond on hovering."""
    if at is None:
        return empty()
    local = timezone.localtime(at) if timezone.is_aware(at) else at
    return format_html('<time title="{}">{}</time>', local.isoformat(), date_format(local, "Y-m-d H:i:s"))


def moment(field: str, title: str) -> Callable[[Any, Any], SafeString]:
    """A column, or a line of a page: that time of the row."""

    @admin.display(description=title)
    def shown(_: Any, row: Any) -> SafeString:
        return when(getattr(row, field))

    return shown


def seconds(begin: datetime | None, end: datetime | None) -> str:
    """The time between two moments, in the unit that reads best; a dash while one is missing."""
    return span(None if begin is None or end is None else (end - begin).total_seconds())


def span(seconds: float | None) -> str:
    """A number of seconds, in the unit that reads best; a dash for none."""
    if seconds is None:
        return "—"
    span = max(seconds, 0.0)
    if span < 1:
        return f"{span * 1000:.0f} ms"
    if span < 120:
        return f"{span:.1f} s"
    minutes, rest = divmod(int(span), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(count: int | None) -> str:
    """Bytes, in the unit that reads best."""
    return filesizeformat(count or 0)
