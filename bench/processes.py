"""The processes of a benchmark: Celery workers and drivers. Whatever happens, none outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
_numbers = count(1)
_started: list[subprocess.Popen[Any]] = []


class BenchError(Exception):
    """Something broke, so that nothing can be measured."""


def start(arguments: list[str], environment: Mapping[str, str], **streams: Any) -> subprocess.Popen[Any]:
    """``python`` with the arguments, in a session of its own: Ctrl-C is ours to pass on."""
    # The tests' launcher asks the kernel to end the process when this one ends, killed or not.
    command = [sys.executable, str(ROOT / "tests/acceptance/launch.py"), str(os.getpid()), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=dict(environment), start_new_session=True, **streams)
    _started.append(process)
    return process


def end_all() -> None:
    """SIGKILL everything that was started, with its children, and wait until it is gone."""
    for process in _started:
        family = _family(process.pid) if process.poll() is None else []
        for each in family:
            try:
                each.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=5)
        process.wait()
    _started.clear()


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


class Worker:
    """One ``celery worker`` with prefork children."""

    def __init__(self, app: str, environment: Mapping[str, str], folder: Path, *, concurrency: int) -> None:
        number = next(_numbers)
        self.log = folder / f"worker-{number}.log"
        with self.log.open("wb") as file:
            self.process = start(
                [
                    "-m",
                    "celery",
                    "-A",
                    app,
                    "worker",
                    "--pool=prefork",
                    f"--concurrency={concurrency}",
                    "-n",
                    f"bench{number}@%h",
                    "--loglevel=WARNING",
                ],
                environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self, ready: Path, seconds: float = 60) -> Worker:
        """Return once the worker consumes: it leaves its pid in the file then."""
        end = time.monotonic() + seconds
        while not (ready.exists() and str(self.process.pid) in ready.read_text().split()):
            if self.process.poll() is not None or time.monotonic() > end:
                raise BenchError(f"a worker did not start:\n{self.log.read_text('utf-8', 'replace')[-3000:]}")
            time.sleep(0.05)  # the worker says so in a file
        return self

    @property
    def family(self) -> list[psutil.Process]:
        """The parent and its children."""
        return _family(self.process.pid)

    def cpu_seconds(self) -> float:
        """What parent and children have taken so far, of all cores."""
        return sum(sum(each.cpu_times()[:2]) for each in self.family)

    def kill(self) -> None:
        """SIGKILL parent and children in one moment."""
        for each in self.family:
            each.kill()
        self.process.wait()

    def term(self) -> None:
        """SIGTERM to the parent, as a deploy does it."""
        self.process.send_signal(signal.SIGTERM)


class Driver:
    """A process with a lane's Django and Celery, which does what it is asked to and answers."""

    def __init__(self, environment: Mapping[str, str], kind: str) -> None:
        self.process = start(
            ["-m", f"bench.drivers.{kind}"],
            environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str, **given: Any) -> Any:
        """The answer to one request. Raises BenchError when the driver broke."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"what": what, **given}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise BenchError(f"the driver ended while it was asked for {what!r}")
        return json.loads(line)
