"""Real Celery workers, and real ways to end them: killed, stopped, told to go, parent or child.

A ``Worker`` is one ``celery worker`` process in a session of its own, with its children; a
``Stage`` is a database, a broker and the workers of one test. Whatever a test does, nothing that
a stage started survives it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from tests.acceptance.brokers import Broker
from tests.acceptance.databases import ROOT, Database
from tests.acceptance.waiting import until

MARK = "HOLDFAST_TEST_MARK"
"""Environment variable that all processes of this test process inherit, so that none is overlooked."""
MARK_VALUE = uuid.uuid4().hex

_READY = re.compile(r"\bready\.\s*$", re.MULTILINE)
_numbers = count(1)


class Worker:
    """One worker process. Its methods act at once; the ``wait_…`` ones wait for what follows."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        log: Path,
        pool: str = "prefork",
        concurrency: int = 2,
        queues: tuple[str, ...] = (),
        arguments: tuple[str, ...] = (),
        app: str = "tests.acceptance.site.celery:app",
        python: str = sys.executable,
        cwd: Path = ROOT,
    ) -> None:
        self.name = f"w{os.getpid()}-{next(_numbers)}"  # another test process's may be on the same RabbitMQ
        self.log = log
        self.pool = pool
        command = ["-m", "celery", "-A", app, "worker", f"--pool={pool}", f"--concurrency={concurrency}"]
        command += ["-n", f"{self.name}@%h", "--loglevel=INFO", *arguments]
        if queues:
            command.append(f"--queues={','.join(queues)}")
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [python, str(ROOT / "tests/acceptance/launch.py"), str(os.getpid()), *command],
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __repr__(self) -> str:
        return f"<Worker {self.name} pid={self.pid} children={self.children if self.alive else 'ended'}>"

    @property
    def nodename(self) -> str:
        """How Celery's remote control calls it."""
        return f"{self.name}@{socket.gethostname()}"

    @property
    def pid(self) -> int:
        """The parent's process id, which is also its process group."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the parent runs, or is stopped."""
        return self.process.poll() is None

    @property
    def children(self) -> list[int]:
        """Process ids of the pool's children that are alive, oldest first; none for threads and solo."""
        try:
            found = psutil.Process(self.pid).children(recursive=True)
            return [p.pid for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        except psutil.NoSuchProcess:
            return []

    @property
    def text(self) -> str:
        """What the worker has logged so far."""
        return self.log.read_text("utf-8", "replace")

    @property
    def ready(self) -> bool:
        """Whether it lives and has said that it consumes."""
        return self.alive and bool(_READY.search(self.text))

    def wait_ready(self, timeout: float = 30) -> Worker:
        """Return once the worker has said that it consumes. Raises AssertionError with its log."""

        def said() -> bool:
            if not self.alive:
                raise AssertionError(f"worker {self.name} ended with {self.process.returncode}:\n{self.text}")
            return bool(_READY.search(self.text))

        until(said, timeout, f"worker {self.name} is ready; its log:\n{self.text[-4000:]}")
        return self

    def wait_end(self, timeout: float = 30) -> int:
        """The exit status, minus the signal's number if one ended it; waits ``timeout`` seconds."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"worker {self.name} still runs:\n{self.text[-4000:]}") from None

    def kill(self, *, children: bool = True) -> None:
        """SIGKILL the parent and, unless told otherwise, its children in the same moment."""
        for pid in [self.pid, *(self.children if children else ())]:
            _signal(pid, signal.SIGKILL)
        self.process.wait(10)

    def kill_child(self, pid: int | None = None) -> int:
        """SIGKILL one child of the pool, the oldest by default; returns its process id."""
        chosen = self.children[0] if pid is None else pid
        _signal(chosen, signal.SIGKILL)
        return chosen

    def stop(self, pid: int | None = None) -> None:
        """SIGSTOP the whole worker, or one process of it; returns once all of them stand still."""
        stopped = [pid] if pid else [self.pid, *self.children]
        for each in stopped:
            _signal(each, signal.SIGSTOP)
        until(
            lambda: all(psutil.Process(p).status() == psutil.STATUS_STOPPED for p in stopped),
            5,
            f"{stopped} have stopped",
        )

    def cont(self, pid: int | None = None) -> None:
        """SIGCONT the whole worker, or one process of it."""
        for each in [pid] if pid else [self.pid, *self.children]:
            _signal(each, signal.SIGCONT)

    def term(self) -> None:
        """SIGTERM to the parent: a warm stop, as a deploy does it."""
        _signal(self.pid, signal.SIGTERM)

    def connections(self, database: Database) -> dict[int, int]:
        """How many PostgreSQL connections each living process of the worker has open."""
        port = int(database.port)
        counts = {}
        for pid in [self.pid, *self.children]:
            try:
                sockets = psutil.Process(pid).net_connections(kind="tcp")
            except psutil.NoSuchProcess:
                continue
            counts[pid] = sum(
                1 for s in sockets if s.raddr and s.raddr.port == port and s.status == "ESTABLISHED"
            )
        return counts


class Stage:
    """One test's database, broker and processes. Leaving it ends every process it started."""

    def __init__(self, database: Database, broker: Broker, directory: Path) -> None:
        self.database = database
        self.broker = broker
        self.directory = directory
        self.workers: list[Worker] = []
        self._logs = count(1)

    def environment(
        self,
        *,
        faults: str = "",
        holdfast: Mapping[str, Any] | None = None,
        celery: Mapping[str, Any] | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """The environment of a process of this stage.

        ``faults`` arms points (see holdfast.faults), ``holdfast`` and ``celery`` override settings.
        """
        return {
            **os.environ,
            **self.database.environment,
            MARK: MARK_VALUE,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "tests.acceptance.site.settings",
            "BROKER_URL": self.broker.url,
            "CELERY_TEST_QUEUE": self.broker.queue,
            "HOLDFAST_TEST_SETTINGS": json.dumps(dict(holdfast or {})),
            "CELERY_TEST_SETTINGS": json.dumps(dict(celery or {})),
            "HOLDFAST_FAULTS": faults,
            "HOLDFAST_FAULTS_LOG": str(self.faults_log),
            **(extra or {}),
        }

    @property
    def faults_log(self) -> Path:
        """Receives a line ``pid point passing`` at each passing of an armed point."""
        return self.directory / "faults.log"

    def worker(
        self,
        *,
        pool: str = "prefork",
        concurrency: int = 2,
        faults: str = "",
        holdfast: Mapping[str, Any] | None = None,
        celery: Mapping[str, Any] | None = None,
        extra: Mapping[str, str] | None = None,
        queues: tuple[str, ...] = (),
        arguments: tuple[str, ...] = (),
        wait: bool = True,
    ) -> Worker:
        """Start a worker; with ``wait``, return once it consumes."""
        environment = self.environment(faults=faults, holdfast=holdfast, celery=celery, extra=extra)
        return self.adopt(
            Worker(
                environment=environment,
                log=self.directory / f"worker-{next(self._logs)}.log",
                pool=pool,
                concurrency=concurrency,
                queues=queues,
                arguments=arguments,
            ),
            wait=wait,
        )

    def adopt(self, worker: Worker, *, wait: bool = True) -> Worker:
        """Make a worker that was started otherwise one of this stage's."""
        self.workers.append(worker)
        return worker.wait_ready() if wait else worker

    def script(
        self, code: str, *, timeout: float = 60, **environment: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run Python code in a process of its own with Django set up, and wait for its end.

        For what a test's own process would not survive, e.g. a fault point in ``enqueue``.
        """
        prelude = "import django, tests.acceptance.site.celery\ndjango.setup()\n"
        return subprocess.run(
            [sys.executable, "-c", prelude + code],
            cwd=ROOT,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def logs(self) -> str:
        """The end of every worker's log, for the report of a failed test."""
        return "\n".join(f"--- {w!r} ({w.log.name}) ---\n{w.text[-12000:]}" for w in self.workers)

    def end(self) -> None:
        """Kill every worker at once and wait until none of its processes is left."""
        for worker in self.workers:
            if worker.alive:
                worker.kill()
        end_marked()


def marked() -> list[psutil.Process]:
    """Every living process, other than this one, that inherited this test process's mark."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            ours = process.environ().get(MARK) == MARK_VALUE and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            continue
        if ours:
            found.append(process)
    return found


def end_marked(timeout: float = 10) -> None:
    """SIGKILL whatever :func:`marked` finds, and wait until it is gone."""
    end = time.monotonic() + timeout
    while left := marked():
        if time.monotonic() > end:
            raise AssertionError(f"processes survive SIGKILL: {left}")
        for process in left:
            _signal(process.pid, signal.SIGKILL)
        psutil.wait_procs(left, timeout=1)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it ended in the meantime, which is what most callers want
        os.kill(pid, number)
