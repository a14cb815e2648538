"""Django settings of a lane; ``python -m bench`` says in the environment which database and broker.

HOLDFAST_BENCH_DATABASE  one entry of DATABASES, as JSON
HOLDFAST_BENCH_BROKER    the broker's URL
HOLDFAST_BENCH_PREFIX    prefix of the keys on Redis
"""

from __future__ import annotations

import json
import os

SECRET_KEY = "only-for-benchmarks"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "holdfast.persistence",
    "holdfast.runner",
    "bench.project",
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
DATABASES = {"default": json.loads(os.environ["HOLDFAST_BENCH_DATABASE"])}
HOLDFAST: dict[str, object] = json.loads(os.environ.get("HOLDFAST_BENCH_SETTINGS", "{}"))
