"""What this operating-system process executes at the moment, when it last beat, and whether it may take more.

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
from typing import Final

from langgraph.runtime import RunControl

from holdfast.conf import settings
from holdfast.per_process import PerProcess
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import RunId
from holdfast.persistence.records import Claim, Session
from holdfast.runner.runs.gate import Admission, Gate
from holdfast.runner.runs.timeline import Timeline

logger = logging.getLogger("holdfast.worker")

LATE = 4
"""Heartbeats without a beat after which a process counts as late (R9)."""
OUTAGE = 600.0
"""Seconds without the database after which the outcome of an attempt is given up: then the run goes on from its
last checkpoint, as after a crash."""


@dataclass(kw_only=True)
class Execution:
    """One run that this process executes: handles to reach it from the heartbeat."""

    claim: Claim
    fence: Fence
    timeline: Timeline
    admission: Admission = field(default_factory=Admission)
    control: RunControl = field(default_factory=RunControl)
    cancel_since: float | None = None
    """Monotonic seconds when a wish to cancel was seen."""
    settling: bool = False
    """The graph has stopped and its end is being written: that the lease goes is no surprise."""
    lost_since: float | None = None
    """Monotonic seconds when the lease was seen to be somebody else's."""


class Process:
    """The runs of one process, with the gate before them (R12, R13) and its heartbeat (R8)."""

    def __init__(self) -> None:
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self.session = Session(pid=None, start=None)
        self.queues: tuple[str, ...] = ()
        self.default_queue = ""
        self.graphs: tuple[tuple[str, str], ...] = ()
        self.beating = False
        self.last_beat = 0.0
        self.idle_since = time.monotonic()
        self._executions: dict[RunId, Execution] = {}
        self._changed = threading.Condition()
        self.gate = Gate(self._changed, ask_to_leave=lambda: self._ask_to_leave("solitude"))

    @property
    def draining(self) -> bool:
        """Whether this process is told to go."""
        return self.gate.shut

    # ── what is executed ────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def executing(self, execution: Execution) -> Iterator[None]:
        """While inside, the heartbeat renews the run's lease; it ends when the executor ended (R8)."""
        run_id = execution.claim.run.id
        with self._changed:
            self._executions[run_id] = execution
            if self.draining:
                execution.control.request_drain("shutdown")
            elif self.gate.making_room:  # it had entered before
                execution.control.request_drain("solitude")
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
            return 0.0 if self._executions or self.gate.inside else time.monotonic() - self.idle_since

    def drain(self) -> None:
        """Hand everything over at its next step boundary, and take nothing more (R13)."""
        with self._changed:
            if not self.draining:
                logger.info("draining: %d runs are handed over at their next step", len(self._executions))
            self.gate.shut = True
            self._ask_to_leave("shutdown")
            self._changed.notify_all()

    def _ask_to_leave(self, why: str) -> None:
        for execution in self._executions.values():
            execution.control.request_drain(why)

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

    def is_late(self) -> bool:
        """Whether the heartbeat has missed beats, as it does while the database is away."""
        return self.beating and time.monotonic() - self.last_beat > settings().HEARTBEAT * LATE

    def outlasts(self, timeout: float) -> bool:
        """Whether the database answers again, waited for up to ``timeout`` seconds by the heartbeat's beats.

        False at once in a process that has no heartbeat, or is told to go.
        """
        failed = time.monotonic()
        with self._changed:
            self._changed.wait_for(
                lambda: self.draining or not self.beating or self.last_beat > failed, timeout
            )
            return not self.draining and self.last_beat > failed


here: Final = PerProcess(Process)
"""This process; a forked child gets one of its own."""
