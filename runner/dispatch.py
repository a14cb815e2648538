"""The one place that rings: a Celery message that carries a run id and nothing else (R15, R17).

A message that is lost, doubled or late changes nothing; so ringing never raises, is never repeated, and
gives up a broker that does not answer after RING_TIMEOUT. The sweep rings again for what was not heard.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any, Final

from celery import Celery, current_app
from kombu import Queue

from holdfast.conf import settings
from holdfast.persistence.connections import Statement, run_in_savepoint
from holdfast.persistence.records import Bell
from holdfast.runner.broker.errors import BrokerSchemaError
from holdfast.runner.broker.outgoing import collecting, publishing
from holdfast.runner.ringer import ringer

logger = logging.getLogger("holdfast.dispatch")

TASK = "holdfast.run"
RECOVERY_SUFFIX = ".recovery"
UNLIMITED = 10 * 365 * 86400
"""Seconds. Celery has no "none"; its pool takes None and 0 for the project's limit (seen)."""

BATCH = 10
"""Messages for which RING_TIMEOUT is the limit; callers of a busy process take turns by as many."""
TOGETHER = 1000
"""Messages that go along in one statement."""
SLOWEST = 0.02
"""Seconds a message that a caller with many of them goes on waiting for."""

_REDIS: Final = {"redis", "rediss", "sentinel"}
"""Schemes of broker URLs for which kombu needs the package redis."""

_quiet_until = 0.0


def project_app() -> Celery | None:
    """The project's Celery app; None while Celery's own default app is current."""
    app = current_app._get_current_object()
    return None if app.main == "default" and not app.set_as_current else app


def default_queue(app: Celery | None = None) -> str:
    """The queue of a run that names none: HOLDFAST["QUEUE"], or where the project's routes send it."""
    if name := settings().QUEUE:
        return name
    app = app or current_app._get_current_object()
    route = app.amqp.router.route({}, TASK)
    target = route.get("queue")
    return str(getattr(target, "name", target) or app.conf.task_default_queue)


def recovery_queue(name: str) -> str:
    """The queue that goes ahead of the backlog: every worker that consumes ``name`` consumes it too."""
    return name + RECOVERY_SUFFIX


def recovery_queue_of(app: Celery, name: str) -> Queue:
    """That queue, of the kind that ``name`` has in the project.

    Worker and callers declare it alike: RabbitMQ refuses who names a quorum queue without its type, which is what
    Celery makes of a queue that it was told nothing of.
    """
    plain = app.amqp.queues[name]
    recovery = recovery_queue(name)
    return Queue(
        recovery,
        exchange=plain.exchange,
        routing_key=recovery,
        queue_arguments=plain.queue_arguments,
        durable=plain.durable,
    )


def missing_client(url: str) -> str | None:
    """What to install for a broker of that address; None if it is there.

    Without the package kombu fails with an AttributeError that names neither package nor broker.
    """
    if url.partition(":")[0] in _REDIS and find_spec("redis") is None:
        return "the Python package redis, which talks to the broker, is not installed: pip install 'holdfast[redis]'"
    return None


def ring(bell: Bell) -> bool:
    """Ring for one run; whether the broker took the message. Never raises."""
    return ring_all([bell]) == 1


def ring_all(bells: Iterable[Bell]) -> int:
    """Ring for several runs, giving up at the first failure; how many the broker took. Never raises.

    A broker that answers gets them all; one that does not costs RING_TIMEOUT, whatever the number.
    """
    global _quiet_until
    waiting = list(bells)
    if not waiting or time.monotonic() < _quiet_until:
        return 0
    timeout = settings().RING_TIMEOUT
    give_up = time.monotonic() + timeout + SLOWEST * len(waiting)
    rung = 0
    try:
        app = current_app._get_current_object()
        send = _send_here if _address(app).startswith("holdfast://") else _send_there
        for start in range(0, len(waiting), BATCH):
            if time.monotonic() > give_up:
                raise TimeoutError("the broker is too slow")
            rung += send(app, waiting[start : start + BATCH], timeout)
    except Exception as error:  # noqa: BLE001 - R17: whatever the broker's client raises, the sweep rings
        # The next callers do not pay for the same outage again.
        _quiet_until = time.monotonic() + timeout
        logger.warning("%s", _failure(rung, waiting, error))
    return rung


def ring_along(bells: Iterable[Bell]) -> bool:
    """Ring in the caller's transaction, where broker and runs share a database; False where they do not.

    The message commits with the run or not at all, and costs no commit of its own. Never raises; after a
    failure the caller's transaction is as it was, and the caller rings when it has committed.
    """
    waiting = list(bells)
    for start in range(0, len(waiting), TOGETHER):
        some = waiting[start : start + TOGETHER]
        if (statement := along(some)) is None:
            return False
        try:
            run_in_savepoint(settings().DATABASE, statement)
        except Exception as error:  # noqa: BLE001 - R17: whatever the broker's tables are like, the caller goes on
            logger.warning("%s", _failure(0, some, error, then=_LATER))
            return False
    return True


def along(bells: Sequence[Bell]) -> Statement | None:
    """The statement that rings, for a caller who runs it beside its own; None where the broker is elsewhere.

    The messages are Celery's, made in its way with all its signals; only putting them in is left. Never
    raises: for a failure it is None too.
    """
    app = current_app._get_current_object()
    alias = settings().DATABASE
    if _address(app) != f"holdfast://{alias}":
        return None
    try:
        with collecting(alias) as messages:
            _send_here(app, bells, settings().RING_TIMEOUT + SLOWEST * len(bells))
    except Exception as error:  # noqa: BLE001 - R17: whatever Celery or a project's signals raise
        # Without the broker's tables the caller's own are mostly missing too, which is told first.
        level = logging.DEBUG if isinstance(error, BrokerSchemaError) else logging.WARNING
        logger.log(level, "%s", _failure(0, bells, error, then=_LATER))
        return None
    return Statement(*publishing(messages))


_LATER: Final = "it is tried again after the commit"


def _failure(rung: int, bells: Sequence[Bell], error: Exception, *, then: str = "the sweep will") -> str:
    why = missing_client(_address(current_app._get_current_object()))
    why = why or f"{type(error).__name__}: {' '.join(str(error).split())}"
    if len(bells) == 1:
        return f"could not ring for run {bells[0].run_id} ({why}); {then}"
    if not rung:
        return f"could not ring for {len(bells)} runs ({why}); {then}"
    return f"rang for only {rung} of {len(bells)} runs ({why}); {then} for the others"


def _address(app: Celery) -> str:
    return str(app.conf.broker_write_url or app.conf.broker_url or "").rstrip("/")


def _send_here(app: Celery, bells: Sequence[Bell], timeout: float) -> int:
    """On the calling thread: our transport by alias publishes on the caller's own Django connection."""
    with app.producer_or_acquire() as producer:
        return _send(app, producer, bells, time.monotonic() + timeout)


def _send_there(app: Celery, bells: Sequence[Bell], timeout: float) -> int:
    return ringer().send(app, lambda producer, give_up: _send(app, producer, bells, give_up), timeout)


def _send(app: Celery, producer: Any, bells: Sequence[Bell], give_up: float) -> int:
    with _together(producer) if len(bells) > 1 else nullcontext():
        for rung, bell in enumerate(bells):
            if time.monotonic() > give_up:
                raise TimeoutError(f"{rung} of {len(bells)} messages sent in time")
            app.send_task(
                TASK,
                args=[str(bell.run_id)],
                task_id=f"{bell.run_id}.{bell.delivery}",
                producer=producer,
                retry=False,
                ignore_result=True,
                priority=bell.priority or None,
                shadow=f"graph:{bell.graph}",
                argsrepr=f"<run={bell.run_id} thread={bell.thread_id}>",
                kwargsrepr="{}",
                time_limit=UNLIMITED,
                soft_time_limit=UNLIMITED,
                **_destination(app, bell),
            )
    return len(bells)


def _together(producer: Any) -> AbstractContextManager[Any]:
    # From kombu 5.7 on: one round trip for all, where the transport knows how (Redis, and ours).
    batch: AbstractContextManager[Any] = producer.batch() if hasattr(producer, "batch") else nullcontext()
    return batch


def _destination(app: Celery, bell: Bell) -> dict[str, Any]:
    if bell.recovery:
        return {"queue": recovery_queue_of(app, bell.queue or default_queue(app))}
    return {} if bell.queue is None else {"queue": bell.queue}
