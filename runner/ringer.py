"""The ringer: a thread that talks to a broker elsewhere, so that one which hangs costs the caller only a wait.

It knows nothing of runs: what is said, and when it is given up, is its caller's affair.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Final, NamedTuple

from holdfast.per_process import PerProcess

logger = logging.getLogger("holdfast.dispatch")

Say = Callable[[Any, float], int]
"""Gets a producer and the moment, by the monotonic clock, to give up; tells how many messages were sent."""


class _Job(NamedTuple):
    app: Any
    say: Say
    timeout: float
    give_up: float
    context: Context
    """The caller's, so that what a project hangs on its messages, a trace for instance, is the caller's too."""
    answer: queue.SimpleQueue[int | Exception]


class _Ringer:
    """Its connection is its own, with limits on every wait: a broker that falls silent in the middle of a
    conversation, as behind a firewall, would otherwise keep the thread for ever.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="holdfast-ringer", daemon=True).start()

    def send(self, app: Any, say: Say, timeout: float) -> int:
        """How many messages were sent. Raises whatever the broker's client does, or TimeoutError."""
        answer: queue.SimpleQueue[int | Exception] = queue.SimpleQueue()
        self._jobs.put(_Job(app, say, timeout, time.monotonic() + timeout, copy_context(), answer))
        try:
            outcome = answer.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"the broker did not answer within {timeout:g} s") from None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _run(self) -> None:
        connected: tuple[Any, Any] | None = None
        while True:
            job = self._jobs.get()
            if time.monotonic() > job.give_up:
                continue  # the caller has gone
            try:
                if connected is not None and connected[0] is not job.app:
                    _let_go(connected[1])
                    connected = None
                if connected is None:
                    connected = (job.app, _producer(job.app, job.timeout))
                sent = job.context.run(job.say, connected[1], job.give_up)
                _wait_heard(connected[1])
                job.answer.put(sent)
            except Exception as error:  # noqa: BLE001 - handed to the caller
                if connected is not None:
                    _let_go(connected[1])
                    connected = None
                job.answer.put(error)


def _producer(app: Any, timeout: float) -> Any:
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


def _wait_heard(producer: Any) -> None:
    """Return once the broker has answered to something that came after the messages.

    RabbitMQ answers to no message: one that fell silent, or lost a connection that idled behind a firewall, would
    be rung in vain until TCP gives it up. It answers to this, in turn: a tenth of what publisher confirms cost,
    and once for all of a batch. Whether the message reaches the disk is the run's row's affair.
    """
    if producer.connection.transport.driver_type == "amqp":
        producer.channel.basic_qos(0, 0, False)


def _let_go(producer: Any) -> None:
    try:
        producer.connection.release()
    except Exception as error:  # noqa: BLE001 - it is broken already
        logger.debug("closing a broken connection: %s", error)


ringer: Final = PerProcess(_Ringer)
