"""The project's router: its own tables on one database, Holdfast's on the one that HOLDFAST names.

It refuses to choose for Holdfast: each of Holdfast's queries has to name its alias itself.
"""

from django.conf import settings

HOLDFAST_APPS = {"holdfast_persistence", "holdfast_runner"}


class Router:
    """Asked for a database only by code that named none."""

    def db_for_read(self, model, **hints):
        if model._meta.app_label in HOLDFAST_APPS:
            raise RuntimeError(f"a query on {model.__name__} names no database")
        return "default"

    db_for_write = db_for_read

    def allow_relation(self, one, other, **hints):
        return None

    def allow_migrate(self, db, app_label, **hints):
        if app_label in HOLDFAST_APPS:
            return db == settings.HOLDFAST["DATABASE"]
        return db == "default"
