"""What one attempt at a run may still do, and what of it is durable.

A fence is made by the claimer and shared by the saver (and every copy of it), the effects and the
timeline of that attempt. It never touches the database: each writing statement carries the run id
and the token itself (R2) and reports back here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, NoReturn

from langgraph.errors import GraphDrained

from holdfast.errors import LeaseLostError
from holdfast.persistence.ids import RunId, ThreadId, Token

_REMEMBERED: Final = 16  # durable checkpoints remembered in each namespace


class Fence:
    """The right of one claimed run to write, until another attempt takes over. Thread-safe."""

    def __init__(
        self,
        run_id: RunId,
        token: Token,
        thread_id: ThreadId,
        *,
        entered: bool = False,
        era: datetime | None = None,
    ) -> None:
        self.run_id = run_id
        self.token = token
        self.thread_id = thread_id
        self.entered = entered
        """Whether the run's input has been applied: its first checkpoint has been committed (R5)."""
        self.era = era
        """The server's incarnation when the run was claimed (R9). None: not known, and each commit waits for the disk."""
        self._relaxed = 0  # commits that did not wait for the disk, begun so far
        self._relaxing = 0  # of those, how many are under way
        self._entered_here = False  # whether the first of those was the run's first checkpoint
        self._flushed = 0  # of those, how many a later commit has taken along to the disk
        self.lost = False
        """Whether a statement of this attempt has been refused."""
        self.broken = False
        """Whether a write was given up in an outage: nothing that builds on it may be stored by this attempt."""
        self.progressed = False
        """Whether this attempt has got further than the one before: a checkpoint, a finished task, an effect (R12)."""
        self.abandoned: frozenset[str] = frozenset()
        """Ids of the tasks that were cut off between two calls of theirs: they are executed again."""
        self._durable: dict[str, dict[str, None]] = {}
        self._changed = threading.Condition()

    @property
    def params(self) -> dict[str, object]:
        """The parameters of the fence in a statement."""
        return {"run_id": self.run_id, "token": self.token, **self.demands}

    @property
    def unflushed(self) -> bool:
        """Whether a crash of the server may lose a commit of this attempt, as none that waited for the disk followed."""
        return self._relaxed > self._flushed

    @property
    def demands(self) -> dict[str, object]:
        """What must hold of the server, or it may have lost what this attempt goes on from.

        ``era``: the incarnation that it must still be in (None: any). ``entry_only``: or else, as no more than
        the run's first checkpoint is in question, its mark must be there, which was committed with it.
        """
        with self._changed:
            era = self.era if self.unflushed else None
            return {"era": era, "entry_only": self._entered_here and self._relaxed == 1}

    @contextmanager
    def committing(self, *, relaxed: bool = False, enter: bool = False) -> Iterator[None]:
        """Around a statement: a commit that waits for the disk takes all along that were there when it began.

        ``enter``: it stores the run's first checkpoint.
        """
        with self._changed:
            along = 0 if self._relaxing else self._relaxed
            if relaxed:
                self._entered_here |= enter
                self._relaxed += 1
                self._relaxing += 1
        try:
            yield
        finally:
            if relaxed:
                with self._changed:
                    self._relaxing -= 1
        if not relaxed:
            with self._changed:
                self._flushed = max(self._flushed, along)

    def note_durable(self, checkpoint_ns: str, checkpoint_id: str) -> None:
        """Remember that the checkpoint is committed, or was read from the database."""
        with self._changed:
            known = self._durable.setdefault(checkpoint_ns, {})
            known[checkpoint_id] = None
            if len(known) > _REMEMBERED:
                del known[next(iter(known))]
            self._changed.notify_all()

    def wait_durable(self, checkpoint_ns: str, checkpoint_id: str, timeout: float | None = None) -> bool:
        """Wait at most ``timeout`` seconds until that checkpoint is durable (R19).

        False when the time is over or the lease is lost. Only the newest checkpoints of each
        namespace are remembered, which are those that anybody waits for.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self.lost or checkpoint_id in self._durable.get(checkpoint_ns, ()), timeout
            )
            return checkpoint_id in self._durable.get(checkpoint_ns, ())

    def abandon(self, task_ids: Iterable[str]) -> None:
        """The attempt ends inside these tasks: nothing that they return, raise or ask is theirs (R13)."""
        with self._changed:
            self.abandoned |= frozenset(task_ids)

    def check_abandoned(self, task_id: str | None = None) -> None:
        """Refuse what an abandoned task wrote, or (None) any checkpoint: raises GraphDrained, writes nothing."""
        if self.abandoned and (task_id is None or task_id in self.abandoned):
            raise GraphDrained("shutdown")

    def check(self, holders: int) -> None:
        """Take what a fenced statement returned as ``count(*) FROM fence``. Raises LeaseLostError."""
        if holders == 0:
            self.refuse()

    def give_up(self) -> None:
        """Mark the lease as lost, and wake whoever waits for something of this attempt to become durable."""
        with self._changed:
            self.lost = True
            self._changed.notify_all()

    def refuse(self) -> NoReturn:
        """Mark the lease as lost and raise LeaseLostError: nothing of the statement was written."""
        self.give_up()
        raise LeaseLostError(
            f"Run {self.run_id} is owned by another attempt by now, or has ended: this write was refused.",
            run_id=self.run_id,
        )
