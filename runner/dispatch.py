"""The one place that rings: a Celery message that carries a run id and nothing else (idea 1, R15, R17).

A message that is lost, doubled or late changes nothing; so ringing never raises, is never repeated, and
costs its caller at most RING_TIMEOUT. The sweep rings again for what was not heard.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable
from typing import Any, Final

from celery import Celery, current_app
from django.db import transaction

from holdfast.conf import settings
from holdfast.per_process import PerProcess
from holdfast.persistence.records import Bell

logger = logging.getLogger("holdfast.dispatch")

TASK = "holdfast.run"
RECOVERY_SUFFIX = ".recovery"
UNLIMITED = (
    10 * 365 * 86400
)  # seconds: Celery has no "none"; its pool takes None and 0 for the project's limit (seen)

BATCH = 10
"""Messages for which RING_TIMEOUT is the limit; callers of a busy process take turns by as many."""
SLOWEST = 0.02
"""Seconds a message that a caller with many of them goes on waiting for."""

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
        send = _send_here if _shares_the_database(app) else _ringer().send
        for start in range(0, len(waiting), BATCH):
            if time.monotonic() > give_up:
                raise TimeoutError("the broker is too slow")
            rung += send(app, waiting[start : start + BATCH], timeout)
    except Exception as error:  # noqa: BLE001 - R17: whatever the broker's client raises, the sweep rings
        # The next callers do not pay for the same outage again.
        _quiet_until = time.monotonic() + timeout
        logger.warning(
            "rang for %d of %d runs (%s: %s); the sweep will for the rest",
            rung,
            len(waiting),
            type(error).__name__,
            error,
        )
    return rung


def ring_along(bells: Iterable[Bell]) -> bool:
    """Ring in the caller's transaction, where broker and runs share a database; False where they do not.

    The message commits with the run or not at all, and costs no commit of its own. Never raises; after a
    failure the caller's transaction is as it was, and the caller rings when it has committed.
    """
    waiting = list(bells)
    app = current_app._get_current_object()
    if _address(app) != f"holdfast://{settings().DATABASE}":
        return False
    try:
        with transaction.atomic(using=settings().DATABASE):
            _send_here(app, waiting, settings().RING_TIMEOUT + SLOWEST * len(waiting))
    except Exception as error:  # noqa: BLE001 - R17: whatever the broker's client raises, the caller goes on
        logger.warning("could not ring along (%s: %s)", type(error).__name__, error)
        return False
    return True


def _address(app: Celery) -> str:
    return str(app.conf.broker_write_url or app.conf.broker_url or "").rstrip("/")


def _shares_the_database(app: Celery) -> bool:
    # Our transport by alias publishes on the caller's own Django connection: no thread may stand between.
    return _address(app).startswith("holdfast://")


def _send_here(app: Celery, bells: list[Bell], timeout: float) -> int:
    with app.producer_or_acquire() as producer:
        return _send(app, producer, bells, time.monotonic() + timeout)


def _send(app: Celery, producer: Any, bells: list[Bell], give_up: float) -> int:
    plain = default_queue(app)
    for rung, bell in enumerate(bells):
        if time.monotonic() > give_up:
            raise TimeoutError(f"{rung} of {len(bells)} messages sent in time")
        target = bell.queue or plain
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
            **_route(target, recovery=bell.recovery, named=bell.queue is not None),
        )
    return len(bells)


def _route(target: str, *, recovery: bool, named: bool) -> dict[str, Any]:
    if recovery:
        return {"queue": recovery_queue(target)}
    return {"queue": target} if named else {}


class _Ringer:
    """A thread that talks to the broker, so that one which hangs costs the caller only the wait for it.

    Its connection is its own, with limits on every wait: a broker that falls silent in the middle of a
    conversation, as behind a firewall, would otherwise keep the thread for ever.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Celery, list[Bell], float, queue.SimpleQueue[Any]]] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._run, name="holdfast-ringer", daemon=True).start()

    def send(self, app: Celery, bells: list[Bell], timeout: float) -> int:
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._jobs.put((app, bells, time.monotonic() + timeout, answer))
        try:
            outcome = answer.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"the broker did not answer within {timeout} s") from None
        if isinstance(outcome, Exception):
            raise outcome
        return int(outcome)

    def _run(self) -> None:
        connected: tuple[Celery, Any] | None = None
        while True:
            app, bells, give_up, answer = self._jobs.get()
            if time.monotonic() > give_up:
                continue  # the caller has gone
            try:
                if connected is not None and connected[0] is not app:
                    _let_go(connected[1])
                    connected = None
                if connected is None:
                    connected = (app, _producer(app, settings().RING_TIMEOUT))
                answer.put(_send(app, connected[1], bells, give_up))
            except Exception as error:  # noqa: BLE001 - handed to the caller
                if connected is not None:
                    _let_go(connected[1])
                    connected = None
                answer.put(error)


def _producer(app: Celery, timeout: float) -> Any:
    url = str(app.conf.broker_write_url or app.conf.broker_url or "")
    limits = {
        "redis": {"socket_timeout": timeout, "socket_connect_timeout": timeout},
        "amqp": {"read_timeout": timeout, "write_timeout": timeout},
    }
    family = next((name for name in limits if name in url.partition(":")[0]), None)
    family = "redis" if url.startswith(("valkey", "sentinel")) else family
    connection = app.connection_for_write(
        connect_timeout=timeout, transport_options=limits[family] if family else None
    )
    once = max(len(connection.alt) - 1, 0)  # each of several brokers once
    connection.transport_options["max_retries"] = once
    connection.ensure_connection(max_retries=once)
    return app.amqp.Producer(connection, auto_declare=False)


def _let_go(producer: Any) -> None:
    try:
        producer.connection.release()
    except Exception as error:  # noqa: BLE001 - it is broken already
        logger.debug("closing a broken connection: %s", error)


_ringer: Final = PerProcess(_Ringer)
