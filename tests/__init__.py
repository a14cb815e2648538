"""The test suite. Its Celery app is current wherever the tests' settings are used."""

from __future__ import annotations

from tests.celery_app import app as celery_app

__all__ = ["celery_app"]
