"""Where tasks of a real worker meet the test: each connects, says who it is, and waits for its cue.

The module is also the Celery app of those workers; it imports Django only for an alias.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Celery

import holdfast.runner.broker  # noqa: F401 - makes the URLs known

WAIT = 30.0
"""Seconds that anything may take on a loaded machine."""

app = Celery("stage", broker=os.environ.get("STAGE_BROKER", "memory://"), set_as_current=False)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=int(os.environ.get("STAGE_PREFETCH", "1")),
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    worker_send_task_events=True,
)
if os.environ.get("STAGE_BROKER", "").startswith("holdfast://"):
    import django

    django.setup()


@app.task(name="stage.enter", bind=True, shared=False)
def enter(self: Any, stage: str, text: str) -> None:
    """Come on, and leave at the cue; if the test is gone, leave at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.connect(stage)
        again = int(bool(self.request.delivery_info.get("redelivered")))
        link.sendall(f"{text}|{os.getpid()}|{again}\n".encode())
        link.recv(1)


@dataclass
class Visit:
    """A task that is at work."""

    text: str
    pid: int
    redelivered: bool
    link: socket.socket

    def go(self) -> None:
        """Let it finish."""
        self.link.sendall(b".")
        self.link.close()


class Stage:
    """The test's end of it."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "stage")
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.bind(self.path)
        self._door.listen(100)
        self._links: list[socket.socket] = []

    def next(self, timeout: float = WAIT) -> Visit:
        """The next task to come on. Raises TimeoutError."""
        self._door.settimeout(timeout)
        link, _ = self._door.accept()
        self._links.append(link)
        link.settimeout(WAIT)
        with link.makefile() as words:
            text, pid, again = words.readline().strip().split("|")
        return Visit(text, int(pid), again == "1", link)

    def nobody_comes(self, seconds: float = 0.5) -> bool:
        """Whether no task comes on for so long."""
        try:
            self.next(seconds).go()
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        """Every task that still waits leaves."""
        for link in [*self._links, self._door]:
            link.close()


class Worker:
    """One ``celery worker`` process with a session of its own; its output goes to a file."""

    def __init__(
        self, broker: str, folder: Path, name: str, *options: str, environment: dict[str, str] | None = None
    ) -> None:
        self.name = f"{name}@test"
        self.log = folder / f"{name}.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "tests.acceptance.broker_stage", "worker"),
                    *("-n", self.name, "-l", "INFO", "-c", "1", *options),
                ],
                env={**os.environ, "STAGE_BROKER": broker, "C_FORCE_ROOT": "1", **(environment or {})},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """kill -9 of the worker and its children."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(WAIT)

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.terminate()
        return self.process.wait(WAIT)
