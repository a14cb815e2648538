"""The project's Celery app: everything that it sets gets in Holdfast's way."""

import logging.config
import os

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stranger.settings")

app = Celery("stranger")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def own_logging(**_):
    """Celery shall leave logging alone: the project has its own."""
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)
