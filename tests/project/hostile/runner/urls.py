"""Addresses of the orders."""

from django.urls import path

from . import views  # noqa: TID251 - its own app

urlpatterns = [path("", views.create), path("connections/", views.open_connections)]
