"""The Celery app of the test's own process, which rings but never consumes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery, _state

from tests.acceptance.brokers import Broker


@contextmanager
def celery_uses(broker: Broker) -> Iterator[Celery]:
    """Make an app on that broker the current one of every thread of this process, for a while."""
    before, default = _state._tls.current_app, _state.default_app
    app = Celery("acceptance-test", set_as_current=False)
    app.conf.update(broker_url=broker.url, task_default_queue=broker.queue)
    if broker.url.startswith("amqp"):
        app.conf.task_default_queue_type = "quorum"
    app.set_current()
    app.set_default()
    try:
        yield app
    finally:
        app.close()
        _state._set_current_app(before)
        _state.set_default_app(default)
