"""Who may execute in a process: any number side by side, or one alone (R12); nobody once it is told to go (R13)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger("holdfast.worker")

TURN = 60.0
"""Seconds that the gate stays closed for a run that is to be alone, after its neighbours were asked to leave."""


class Admission:
    """One run's right to execute in a process: compared by identity, tells nothing."""

    __slots__ = ()


class Gate:
    """Admits runs to one process."""

    def __init__(self, changed: threading.Condition, *, ask_to_leave: Callable[[], None]) -> None:
        """``changed`` is the process's; ``ask_to_leave``, called under it, wants those inside to go soon."""
        self.shut = False
        """The process goes: nobody waits for solitude any more. Set under ``changed``."""
        self.making_room = False
        """Those inside have been asked to leave; so is whoever begins to execute now."""
        self.inside = 0
        self._changed = changed
        self._ask_to_leave = ask_to_leave
        self._alone: Admission | None = None
        self._open_until = 0.0

    @contextmanager
    def admission(self, *, alone: bool = False, patience: float) -> Iterator[Admission | None]:
        """An admission, waited for up to ``patience`` seconds; None if there was none.

        While somebody is alone nobody else gets one. ``alone`` waits until all others have left, during
        which nobody else enters. Those who have not left after ``patience`` are handed over at their next step
        boundary (R13), so that its turn comes however long their runs are. Only a node, or a ``@task``, that
        takes longer than ``TURN`` keeps it away: then it gives up, and the gate is open to all others for as
        long as it was closed, so that a node of hours costs the process half of its time at most.
        """
        admission = Admission()
        if not self._enter(admission, alone=alone, patience=patience):
            yield None
            return
        try:
            yield admission
        finally:
            with self._changed:
                self.inside -= 1
                if self._alone is admission:
                    self._alone = None
                self._changed.notify_all()

    def admit_others(self, admission: Admission) -> None:
        """The run of that admission has moved on: if it was alone, others may enter again (R12)."""
        with self._changed:
            if self._alone is admission:
                self._alone = None
                self._changed.notify_all()

    def _enter(self, admission: Admission, *, alone: bool, patience: float) -> bool:
        with self._changed:
            if alone and time.monotonic() < self._open_until:
                return False
            if not self._changed.wait_for(lambda: self._alone is None, patience):
                return False
            if alone and not self._emptied(admission, patience):
                return False
            self.inside += 1
            return True

    def _emptied(self, admission: Admission, patience: float) -> bool:
        """Let nobody enter, until all have left or the wait for that is over."""
        closed = time.monotonic()
        self._alone = admission  # from here on nobody else enters
        left = self._left(patience)
        if not left and not self.shut:
            logger.info("%d runs are handed over at their next step: one has to be alone", self.inside)
            self.making_room = True
            self._ask_to_leave()
            left = self._left(TURN)
            self.making_room = False
        if not left:
            self._alone = None
            self._open_until = 2 * time.monotonic() - closed
            self._changed.notify_all()
        return left

    def _left(self, timeout: float) -> bool:
        self._changed.wait_for(lambda: self.inside == 0 or self.shut, timeout)
        return self.inside == 0 and not self.shut
