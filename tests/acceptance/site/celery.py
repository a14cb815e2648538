"""The Celery app of the worker processes, made as Celery's own guide for Django makes it."""

from __future__ import annotations

import os

from celery import Celery

from holdfast.runner import broker as broker  # names its transport to kombu

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.acceptance.site.settings")

app = Celery("acceptance")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
