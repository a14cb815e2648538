"""What this operating-system process executes at the moment, and whether it may take more.

One object a process, made anew after a fork. It knows nothing of the database: the heartbeat reads and
ages it, the stations enter and leave it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from langgraph.runtime import RunControl

from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import RunId
from holdfast.persistence.records import Claim, Session
from holdfast.runner.runs.timeline import Timeline

logger = logging.getLogger("holdfast.worker")


@dataclass(kw_only=True)
class Execution:
    """One run that this process executes: handles to reach it from the heartbeat."""

    claim: Claim
    fence: Fence
    timeline: Timeline
    control: RunControl = field(default_factory=RunControl)
    cancel_since: float | None = None
    """Monotonic seconds when a wish to cancel was seen."""
    lost_since: float | None = None
    """Monotonic seconds when the lease was seen to be somebody else's."""


class Process:
    """The runs of one process, and the gate before them (R12, R13)."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.owner = f"{socket.gethostname()}:{self.pid}"
        self.session = Session(pid=None, start=None)
        self.queues: tuple[str, ...] = ()
        self.default_queue = ""
        self.beating = False
        self.last_beat = 0.0
        self.idle_since = time.monotonic()
        self.draining = False
        self._executions: dict[RunId, Execution] = {}
        self._changed = threading.Condition()
        self._inside = 0
        self._alone = False

    # ── the gate ────────────────────────────────────────────────────────────────────────────────────

    def enter(self, *, alone: bool, patience: float) -> bool:
        """Wait up to ``patience`` seconds for a place; ``alone`` waits until all others have left."""
        with self._changed:
            if not alone:
                free = self._changed.wait_for(lambda: not self._alone, patience)
            else:
                if not self._changed.wait_for(lambda: not self._alone, patience):
                    return False
                self._alone = True  # from here on nobody else enters
                free = self._changed.wait_for(lambda: self._inside == 0, patience)
                if not free:
                    self._alone = False
                    self._changed.notify_all()
            if free:
                self._inside += 1
            return free

    def admit_others(self) -> None:
        """The run that was alone has moved on: others may enter again (R12)."""
        with self._changed:
            self._alone = False
            self._changed.notify_all()

    def leave(self) -> None:
        """Give the place back."""
        with self._changed:
            self._inside -= 1
            if self._inside == 0:
                self._alone = False
            self._changed.notify_all()

    # ── what is executed ────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def executing(self, execution: Execution) -> Iterator[None]:
        """While inside, the heartbeat renews the run's lease; it ends when the executor ended (R8)."""
        run_id = execution.claim.run.id
        with self._changed:
            self._executions[run_id] = execution
            if self.draining:
                execution.control.request_drain("shutdown")
        try:
            yield
        finally:
            with self._changed:
                self._executions.pop(run_id, None)
                if not self._executions:
                    self.idle_since = time.monotonic()
                self._changed.notify_all()

    def executions(self) -> list[Execution]:
        """A snapshot of what is executed."""
        with self._changed:
            return list(self._executions.values())

    def idle_for(self) -> float:
        """Seconds without any run; 0.0 while one is executed."""
        with self._changed:
            return 0.0 if self._executions or self._inside else time.monotonic() - self.idle_since

    def drain(self) -> None:
        """Hand everything over at its next step boundary, and take nothing more (R13)."""
        with self._changed:
            if not self.draining:
                logger.info("draining: %d runs are handed over at their next step", len(self._executions))
            self.draining = True
            for execution in self._executions.values():
                execution.control.request_drain("shutdown")

    # ── the beat ────────────────────────────────────────────────────────────────────────────────────

    def beaten(self, session: Session) -> None:
        """The heartbeat has just written to the database."""
        with self._changed:
            self.session = session
            self.last_beat = time.monotonic()
            self._changed.notify_all()

    def wait_for_beat(self, *, age: float, timeout: float) -> bool:
        """Whether a beat younger than ``age`` seconds exists, or comes within ``timeout`` (R8)."""
        with self._changed:
            return self._changed.wait_for(lambda: time.monotonic() - self.last_beat < age, timeout)


_here: Process | None = None
_making = threading.Lock()


def here() -> Process:
    """This process; a forked child gets one of its own."""
    global _here
    with _making:
        if _here is None or _here.pid != os.getpid():
            _here = Process()
        return _here


def _forget() -> None:
    global _making
    _making = threading.Lock()


os.register_at_fork(after_in_child=_forget)
