"""The reference site's Celery app: ``celery -A holdfast.runner.site.celery:app worker``.

Sets what each broker needs to keep bells safe and prompt; a project of your own has its own Celery app and needs
none of this, since every task of Holdfast carries its options itself.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging
from django.conf import settings

from holdfast.runner import broker as broker  # registers the transports
from holdfast.runner.schedule import beat_schedule
from holdfast.runner.site import environment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", environment.SITE_SETTINGS)

REDIS_VISIBILITY = 3600.0
"""Seconds before Redis hands an unacknowledged message out again: a doubled bell, which costs nothing."""


def transport_options(url: str) -> dict[str, Any]:
    """The broker's own options for that address."""
    if url.startswith(("redis", "rediss")):
        return {"visibility_timeout": REDIS_VISIBILITY}
    if url.startswith(("amqp", "pyamqp")):
        return {"confirm_publish": True}
    return {}


def queue_options(url: str) -> dict[str, Any]:
    """Quorum queues on RabbitMQ: they survive the loss of a node of the broker.

    RabbitMQ closes a channel that leaves a message unacknowledged for 30 minutes (consumer_timeout;
    docker-compose.yml raises it). A run that outlasts it goes on: the bell is lost, the lease is not.
    """
    if not url.startswith(("amqp", "pyamqp")):
        return {}
    return {"task_default_queue_type": "quorum", "worker_detect_quorum_queues": True}


app = Celery("holdfast")
app.conf.update(
    broker_url=settings.BROKER_URL,
    broker_transport_options=transport_options(settings.BROKER_URL),
    broker_connection_retry_on_startup=True,
    result_backend=None,
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    worker_concurrency=settings.WORKER_CONCURRENCY,
    worker_hijack_root_logger=False,
    timezone="UTC",
    enable_utc=True,
    **queue_options(settings.BROKER_URL),
)
app.conf.beat_schedule = beat_schedule()
app.autodiscover_tasks()


@setup_logging.connect
def _keep_djangos_logging(**_: Any) -> None:
    """Django's LOGGING stands; with a receiver here Celery configures no logging of its own."""
