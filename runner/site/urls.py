"""The reference site's addresses: Django's admin, and a probe for load balancers and compose."""

from __future__ import annotations

from django.contrib import admin
from django.db import Error, connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView

from holdfast.conf import settings


@require_safe
@never_cache
def healthz(_request: HttpRequest) -> HttpResponse:
    """200 while the database answers, 503 otherwise; tells nothing else, and asks for no login."""
    try:
        with connections[settings().DATABASE].cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:  # DatabaseError, and the InterfaceError of a connection that is closed already
        return JsonResponse({"database": "unreachable"}, status=503)
    return JsonResponse({"database": "ok"})


admin.site.site_header = admin.site.site_title = "Holdfast"


@require_safe
def no_icon(_request: HttpRequest) -> HttpResponse:
    """204: every browser asks, and a 404 would be a warning in the log each time."""
    return HttpResponse(status=204)


urlpatterns = [
    path("favicon.ico", no_icon),
    path("healthz", healthz, name="healthz"),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(url="/admin/", permanent=False)),
]
