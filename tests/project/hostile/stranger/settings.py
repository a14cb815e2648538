"""Settings of a project with habits of its own. The environment says only where its databases are."""

import os
import sys
from datetime import timedelta

SECRET_KEY = "the stranger's own"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "stranger.urls"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "graphs",
    "runner",
    "holdfast.persistence",
    "holdfast.runner",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def _database(name):
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
        "USER": os.environ["STRANGER_ROLE"],
        "PASSWORD": os.environ["STRANGER_ROLE"],
        "ATOMIC_REQUESTS": True,
        "CONN_MAX_AGE": None,
    }


DATABASES = {
    "default": _database(os.environ["STRANGER_DEFAULT"]),
    "second": _database(os.environ["STRANGER_SECOND"]),
}
DATABASE_ROUTERS = ["stranger.routers.Router"]

HOLDFAST = {"DATABASE": os.environ["STRANGER_HOLDFAST"]}

CELERY_BROKER_URL = f"holdfast://{HOLDFAST['DATABASE']}"
CELERY_RESULT_BACKEND = f"file://{os.environ['STRANGER_RESULTS']}"
CELERY_TASK_TIME_LIMIT = 2
CELERY_TASK_SOFT_TIME_LIMIT = 1
CELERY_TASK_DEFAULT_QUEUE = "errands"
CELERY_TASK_ROUTES = {"holdfast.*": {"queue": "slow"}, "runner.tasks.*": {"queue": "errands"}}
CELERY_TASK_ALWAYS_EAGER = "test" in sys.argv
CELERY_TASK_EAGER_PROPAGATES = True
CELERY_TASK_SERIALIZER = "pickle"
CELERY_ACCEPT_CONTENT = ["pickle", "json"]
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BEAT_SCHEDULE = {"count": {"task": "runner.tasks.count", "schedule": timedelta(hours=1)}}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"own": {"format": "STRANGER {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}},
    "root": {"handlers": ["own"], "level": "INFO"},
}
