"""The Django project that the acceptance tests' workers load: one database, one broker, nothing else."""

from __future__ import annotations

from tests.acceptance.site.celery import app as celery_app

__all__ = ["celery_app"]
