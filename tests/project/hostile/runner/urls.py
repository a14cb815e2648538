"""Addresses of the orders."""

from django.urls import path

from . import views

urlpatterns = [path("", views.create), path("connections/", views.open_connections)]
