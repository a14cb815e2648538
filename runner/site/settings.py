"""Django settings of the reference site, all of them from the environment.

DATABASE_URL    required; postgresql://user:password@host:5432/name
SECRET_KEY      required
ALLOWED_HOSTS   comma-separated names; none by default
BROKER_URL      holdfast://default (this PostgreSQL), amqp://… or redis://…
DEBUG           0 or 1; 0 by default
WORKER_CONCURRENCY  processes of one worker, 2 by default
HTTPS           0 or 1; 1 by default: redirects and cookies for HTTPS only
EXTRA_APPS      comma-separated apps of your own, whose graphs.py is then found
CSRF_TRUSTED_ORIGINS, BEHIND_PROXY, HSTS_SECONDS, STATIC_ROOT, HOLDFAST_LOG_LEVEL: see below
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from holdfast.persistence.embedded import home
from holdfast.runner.site import environment

DATABASES = environment.databases()
SECRET_KEY = environment.secret_key()
DEBUG = environment.flag("DEBUG")
ALLOWED_HOSTS = environment.words("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = environment.words("CSRF_TRUSTED_ORIGINS")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "holdfast.runner.site.urls"
ASGI_APPLICATION = "holdfast.runner.site.asgi.application"
WSGI_APPLICATION = "holdfast.runner.site.wsgi.application"
USE_TZ = True
TIME_ZONE = "UTC"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "holdfast.persistence",
    "holdfast.runner",
    "holdfast.runner.site",
    "holdfast.graphs.examples",
    *environment.words("EXTRA_APPS"),
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    *(["whitenoise.middleware.WhiteNoiseMiddleware"] if find_spec("whitenoise") else []),
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES: list[dict[str, Any]] = [
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
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

STATIC_URL = "/static/"
STATIC_ROOT = Path(os.environ.get("STATIC_ROOT") or home() / "static")
# Finders instead of a collected directory: the admin's files are served without a build step.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

# Safe by default; `holdfast up` serves plain HTTP on loopback and sets HTTPS=0.
HTTPS = environment.flag("HTTPS", default=not DEBUG)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]  # probes talk plain HTTP to the container itself
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if environment.flag("BEHIND_PROXY") else None
SECURE_HSTS_SECONDS = environment.number("HSTS_SECONDS", 0)
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

HOLDFAST: dict[str, Any] = {}
BROKER_URL = environment.broker_url()
WORKER_CONCURRENCY = environment.number("WORKER_CONCURRENCY", 2)

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname:<7} {name} {message}", "style": "{", "datefmt": "%H:%M:%S"}
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": os.environ.get("HOLDFAST_LOG_LEVEL", "INFO").upper()},
    "loggers": {
        # Every poll and heartbeat of a client library is noise at INFO.
        name: {"level": "WARNING"}
        for name in ("httpx", "psycopg.pool", "amqp", "kombu", "tornado.access")
    }
    # It warns of each question that a worker does not answer while it starts, and asks again.
    | {"flower.inspector": {"level": "ERROR"}},
}
