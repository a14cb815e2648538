"""Settings of the worker processes; the harness says in the environment which database and broker.

``HOLDFAST_TEST_SETTINGS`` is a JSON object that overrides the dict ``HOLDFAST``, and
``CELERY_TEST_SETTINGS`` one that overrides Celery's settings.
"""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403 - the same, but for what follows
from tests.settings import HOLDFAST as _HOLDFAST
from tests.settings import INSTALLED_APPS as _INSTALLED_APPS

INSTALLED_APPS = [*_INSTALLED_APPS, "tests.acceptance.asking"]

HOLDFAST: dict[str, object] = {**_HOLDFAST, **json.loads(os.environ.get("HOLDFAST_TEST_SETTINGS", "{}"))}

CELERY_BROKER_URL = os.environ.get("BROKER_URL", "holdfast://default")
CELERY_TASK_DEFAULT_QUEUE = os.environ.get("CELERY_TEST_QUEUE", "celery")
CELERY_WORKER_HIJACK_ROOT_LOGGER = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
if CELERY_BROKER_URL.startswith("amqp"):
    CELERY_TASK_DEFAULT_QUEUE_TYPE = "quorum"
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, object] = {"confirm_publish": True}
for _name, _value in json.loads(os.environ.get("CELERY_TEST_SETTINGS", "{}")).items():
    globals()[f"CELERY_{_name.upper()}"] = _value
