"""The Celery app of a lane with Holdfast: as Celery's guide for Django makes it."""

from __future__ import annotations

import os

from celery import Celery

from bench.project.celery_setup import configure
from holdfast.runner import broker as broker  # makes its transport known to kombu

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.project.settings")

app = Celery("bench-holdfast")
configure(app)
app.autodiscover_tasks()
