"""Somebody else's project. It knew nothing of Holdfast when it was begun."""

import os

if "STRANGER_WITHOUT_CELERY" not in os.environ:
    from .celery import app as celery_app

    __all__ = ["celery_app"]
