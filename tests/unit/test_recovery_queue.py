"""Worker and callers name the recovery queue alike; RabbitMQ refuses who describes a queue differently (R15)."""

from __future__ import annotations

from uuid import uuid4

from celery import Celery

from holdfast.persistence.ids import RunId, ThreadId
from holdfast.persistence.records import Bell
from holdfast.runner import dispatch


def test_a_caller_describes_the_recovery_queue_as_the_worker_does() -> None:
    app = Celery("quorum", set_as_current=False)
    app.conf.update(task_default_queue_type="quorum")
    bell = Bell(
        run_id=RunId(uuid4()),
        thread_id=ThreadId("t"),
        graph="joke",
        delivery=2,
        queue=None,
        priority=0,
        recovery=True,
    )
    route = app.amqp.router.route(dispatch._destination(app, bell), dispatch.TASK)
    plain = app.amqp.queues["celery"]
    assert plain.queue_arguments == {"x-queue-type": "quorum"}
    assert route["queue"].queue_arguments == plain.queue_arguments
    assert route["queue"].name == f"{plain.name}.recovery" == route["queue"].routing_key
