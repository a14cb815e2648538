"""Keeps a few child processes alive in one terminal, and leaves none behind.

One thread, one selector: output of the children, their ends and the signals of the terminal all wake it.
A child that dies is started again, later each time; on SIGINT or SIGTERM the children are stopped in
groups, one group after the other, and whatever outlives its patience is killed with all it started.
It knows nothing of Django, Celery or databases.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

FIRST_PAUSE: Final = 1.0
"""Seconds before a child that died is started again; doubles with each death."""
LONGEST_PAUSE: Final = 30.0
"""The longest such pause, in seconds."""
HEALTHY: Final = 30.0
"""Seconds a child must live for its deaths to be forgotten."""
_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG, linux/prctl.h

Say = Callable[[str, str], None]
"""Called with a child's name and one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One child to be kept."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    stops: int = 1
    """Group in which it is stopped; lower numbers first."""
    patience: float = 5.0
    """Seconds between SIGTERM and SIGKILL."""


@dataclass(kw_only=True)
class _Child:
    service: Service
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    due: float | None = 0.0
    """Monotonic seconds of its next start; None while it runs, or when it is not wanted any more."""
    rest: bytes = b""


class Supervisor:
    """Runs the services until a signal comes."""

    def __init__(self, services: Sequence[Service], say: Say) -> None:
        self._children = [_Child(service=service) for service in services]
        self._say = say
        self._selector = selectors.DefaultSelector()
        self._signals = 0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    def run(self) -> None:
        """Keep everything running; returns when all has been stopped. Call it in the main thread."""
        old = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        old[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        old_fd = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            while not self._signals:
                self._start_due()
                self._listen(self._next_due())
                self._bury(restart=True)
            self._stop_all()
        finally:
            for child in self._children:
                self._kill(child)
            signal.set_wakeup_fd(old_fd)
            for number, handler in old.items():
                signal.signal(number, handler)
            self._selector.close()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _on_signal(self, *_: Any) -> None:
        self._signals += 1

    # ── running ─────────────────────────────────────────────────────────────────────────────────────

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.due is not None and child.due <= now:
                self._start(child)

    def _start(self, child: _Child) -> None:
        child.process = subprocess.Popen(  # noqa: S603 - the commands are the caller's own
            child.service.command,
            env=dict(child.service.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A session of its own: Ctrl-C is ours alone, and the whole group can be ended at once.
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
        child.started, child.due = time.monotonic(), None
        assert child.process.stdout is not None
        os.set_blocking(child.process.stdout.fileno(), False)
        self._selector.register(child.process.stdout, selectors.EVENT_READ, child)

    def _next_due(self) -> float | None:
        dues = [child.due for child in self._children if child.due is not None]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    def _listen(self, seconds: float | None) -> None:
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                _drain(self._wake_read)
            else:
                self._read(key.data)

    def _read(self, child: _Child) -> None:
        assert child.process is not None
        assert child.process.stdout is not None
        chunk = child.process.stdout.read(65536)
        if chunk:
            *lines, child.rest = (child.rest + chunk).split(b"\n")
            for line in lines:
                self._say(child.service.name, line.decode("utf-8", "replace").rstrip())
        elif chunk == b"":
            self._selector.unregister(child.process.stdout)
            child.process.stdout.close()

    def _bury(self, *, restart: bool) -> None:
        for child in self._children:
            if child.process is None or child.process.poll() is None:
                continue
            code = child.process.returncode
            self._kill(child)  # what it may have started and left behind
            if not restart:
                continue
            now = time.monotonic()
            child.deaths = 1 if now - child.started > HEALTHY else child.deaths + 1
            pause = min(FIRST_PAUSE * 2 ** (child.deaths - 1), LONGEST_PAUSE)
            child.due = now + pause
            self._say(child.service.name, f"*** {_ended(code)}; starting again in {pause:.0f} s")

    # ── stopping ────────────────────────────────────────────────────────────────────────────────────

    def _stop_all(self) -> None:
        for child in self._children:
            child.due = None
        for group in sorted({child.service.stops for child in self._children}):
            members = [c for c in self._children if c.service.stops == group and c.process is not None]
            for child in members:
                assert child.process is not None
                child.process.terminate()
            give_up = time.monotonic() + max((c.service.patience for c in members), default=0.0)
            while any(child.process is not None for child in members):
                left = give_up - time.monotonic()
                if left <= 0 or self._signals > 1:
                    break
                self._listen(left)
                self._bury(restart=False)
            for child in members:
                if child.process is not None:
                    self._say(child.service.name, "*** did not stop in time, killed")
                    self._kill(child)

    def _kill(self, child: _Child) -> None:
        """End the child's whole group, read its last words and forget it."""
        process = child.process
        if process is None:
            return
        with suppress(ProcessLookupError, PermissionError):  # nobody is left (macOS says so with EPERM)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None and not process.stdout.closed:
            self._read(child)
            if not process.stdout.closed:
                self._selector.unregister(process.stdout)
                process.stdout.close()
        if child.rest:
            self._say(child.service.name, child.rest.decode("utf-8", "replace").rstrip())
        child.process, child.rest = None, b""


def _ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _drain(fd: int) -> None:
    with suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass


def _die_with_parent() -> None:
    """In the child: SIGTERM when the supervisor dies, even by SIGKILL (Linux only)."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)
