"""What a Celery worker does besides tasks: its queues, its heartbeats, its end.

Connected to Celery's signals when the tasks are imported. The parent of a prefork pool prepares what its
children share and passes SIGTERM on to them through a pipe; each child, or the one process of another
pool, beats for itself. It changes none of the project's settings.
"""

from __future__ import annotations

import gc
import logging
import os
from typing import Any

from celery import bootsteps, signals
from celery.concurrency import get_implementation
from django.db.backends.signals import connection_created

from holdfast.errors import ConfigurationError
from holdfast.graphs import registry
from holdfast.persistence import backends, ledger
from holdfast.persistence.backends.address import KINDS
from holdfast.persistence.connections import close_pools, guard_session, shares_sessions
from holdfast.runner import dispatch
from holdfast.runner.intake import Intake
from holdfast.runner.runs.heartbeat import Heartbeat
from holdfast.runner.runs.process import here

logger = logging.getLogger("holdfast.worker")

_parent = 0
_drain_read: int | None = None
_drain_write: int | None = None
_queues: tuple[str, ...] = ()
_default_queue = ""
_graphs: tuple[tuple[str, str], ...] = ()
_heartbeat: Heartbeat | None = None
_green = False
_GREEN = (
    "Runs are not executed in a gevent or eventlet pool: a node that computes, or waits in C, stops the heartbeat "
    "with it, and the run goes to another worker in its midst. "
)


@signals.celeryd_after_setup.connect(weak=False)
def _consume_recovery_queues(instance: Any, **_: Any) -> None:
    """Each queue that the worker consumes gets its recovery queue beside it (R15)."""
    global _queues, _default_queue
    if _green:
        return
    app = instance.app
    consumed = [name for name in app.amqp.queues.consume_from if not name.endswith(dispatch.RECOVERY_SUFFIX)]
    for name in consumed:
        app.amqp.queues.select_add(dispatch.recovery_queue_of(app, name))
    _queues, _default_queue = tuple(consumed), dispatch.default_queue(app)


class _Drain(bootsteps.StartStopStep):
    """Stopped before the pool, which then waits for its runs: SIGHUP and ``celery control shutdown`` tell no signal."""

    requires = ("celery.worker.components:Pool",)

    def stop(self, parent: Any) -> None:
        _drain()


@signals.worker_init.connect(weak=False)
def _prepare(sender: Any, **_: Any) -> None:
    """Before any fork: the drain pipe, and what children would otherwise each load for themselves."""
    global _parent, _drain_read, _drain_write, _graphs, _green
    _parent = os.getpid()
    sender.app.steps["consumer"].add(Intake)
    _green = get_implementation(sender.pool_cls).is_green
    if _green:
        _refuse_green(sender.app)
        return
    _refuse_memory_beside_children(sender.pool_cls)
    sender.app.steps["worker"].add(_Drain)
    _drain_read, _drain_write = os.pipe()
    os.set_inheritable(_drain_read, True)
    os.set_blocking(_drain_write, False)
    for problem in registry.problems():
        logger.error("%s", problem)
    for spec in registry.all():
        spec.compile()
    _graphs = tuple((spec.name, spec.version) for spec in registry.all())
    gc.collect()
    gc.freeze()  # what is loaded by now stays shared: four children take half the memory (PSS)


def _refuse_green(app: Any) -> None:
    """A green worker of the project's own tasks starts; one for runs ends with the reason (R8)."""
    queue = dispatch.default_queue(app)
    if queue in app.amqp.queues.consume_from:
        raise SystemExit(
            f"{_GREEN}Start this worker with --pool=prefork or --pool=threads, or, if it is for other tasks only, "
            f"with -Q and queues other than {queue!r}."
        )


def refuse_if_green() -> None:
    """Raises ConfigurationError where a run's own queue has led it into a green pool: it stays queued."""
    if _green:
        raise ConfigurationError(
            f"{_GREEN}Let a worker with --pool=prefork or --pool=threads consume its queue.", setting="QUEUE"
        )


def _refuse_memory_beside_children(pool: Any) -> None:
    """Each child would have a memory of its own, and the next attempt at a run would find nothing."""
    if not get_implementation(pool).__module__.endswith("prefork"):
        return
    kept = [(kind, address) for kind in KINDS for address in backends.known(kind)]
    if found := next((kind for kind, address in kept if address.startswith("memory:")), None):
        raise SystemExit(
            f"{found} is memory:// for some graph, or in HOLDFAST: that is one process's own, and this worker has "
            "several. Name a backend that they share, or start the worker with --pool solo or --pool threads."
        )


@signals.worker_process_init.connect(weak=False)
def _begin_child(**_: Any) -> None:
    if os.getpid() != _parent:  # the pool "solo" sends it too, from the one process that there is
        _begin(replaced=True)


@signals.worker_ready.connect(weak=False)
def _begin_single(sender: Any, **_: Any) -> None:
    """Pools without child processes: this one executes."""
    if not _green and not sender.pool.__class__.__module__.endswith("prefork"):
        _begin(replaced=False)


def _guard(sender: Any, connection: Any, **_: Any) -> None:
    """A process frozen in a transaction of a node's, or of a receiver's of run_settled, holds locks too (R11)."""
    if connection.alias == ledger.alias() and not shares_sessions(connection.alias):
        guard_session(connection)


def _begin(*, replaced: bool) -> None:
    global _heartbeat
    connection_created.connect(_guard, dispatch_uid="holdfast.runner.worker")
    process = here()
    process.queues, process.default_queue, process.graphs = _queues, _default_queue, _graphs
    _heartbeat = Heartbeat(process, drain_fd=_drain_read, replaced=replaced)
    _heartbeat.start()


@signals.worker_shutting_down.connect(weak=False)
def _drain(how: str = "", **_: Any) -> None:
    """SIGTERM: tell all children at once; the byte stays in the pipe, so each of them sees it (R13)."""
    if _drain_write is not None:
        os.write(_drain_write, b"!")


@signals.worker_process_shutdown.connect(weak=False)
def _end_child(**_: Any) -> None:
    _end()


@signals.worker_shutdown.connect(weak=False)
def _end_single(**_: Any) -> None:
    _end()


def _end() -> None:
    global _heartbeat
    if _heartbeat is not None:
        _heartbeat.stop()
        _heartbeat = None
    backends.close_backends()
    close_pools()
