"""The Celery app of tests that start no worker: what is sent stays in this process."""

from __future__ import annotations

from celery import Celery

app = Celery("holdfast-tests", broker="memory://", set_as_current=True)
app.conf.update(worker_prefetch_multiplier=1)
