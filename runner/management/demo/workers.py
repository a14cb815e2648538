"""The demo's workers: real Celery workers of one child each, each in a session of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from holdfast.errors import HoldfastError
from holdfast.runner import up

if TYPE_CHECKING:
    from holdfast.persistence.records import Run

WATCHED: Final = 9.0
"""Seconds that the summaries take at most, by the pace of the offline model."""
PARALLEL: Final = 3
"""Summaries at the same time."""
LONGEST: Final = 120.0
"""Seconds that the workers may take to start."""
LOOK: Final = 0.2
"""Seconds between two looks at what has started."""

Worker = subprocess.Popen[bytes]


def log_of(name: str) -> Path:
    """Where a worker's log is."""
    return Path(os.environ["HOLDFAST_HOME"]) / f"worker-{name}.log"


@contextmanager
def worker(name: str, summaries: int) -> Iterator[Worker]:
    """A worker, killed at the end if nobody has done so before; its pace goes by how many summaries there are."""
    from holdfast.graphs.examples.offline import PACE

    rounds = max(1, -(-summaries // PARALLEL))
    env = {**os.environ, PACE: os.environ.get(PACE) or f"{min(0.8, WATCHED / rounds):.3f}"}
    with log_of(name).open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
            up.worker_command(up.Options(concurrency=1), name=name),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        try:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
        finally:  # also where another Ctrl-C ends the patience
            kill(process)


def await_workers(number: int) -> None:
    """Until so many worker processes beat. Raises HoldfastError when they take too long."""
    from holdfast.runner.management.doctor import beating

    give_up = time.monotonic() + LONGEST
    while beating() < number:
        if time.monotonic() > give_up:
            raise HoldfastError(f"The workers did not start; see {log_of('*')}.")
        time.sleep(LOOK)  # between two looks; a worker tells nobody that it is ready


def executes(worker: Worker, run: Run) -> bool:
    """Whether a child of the worker's executes the run."""
    pid = int((run.owner or ":0").rpartition(":")[2])
    with suppress(ProcessLookupError):
        return os.getsid(pid) == worker.pid
    return False


def kill(process: Worker) -> None:
    """The parent and its children at once, as when a machine loses power."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
