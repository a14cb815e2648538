"""What a backend elsewhere asks and tells Holdfast's own database around each write of a run (P2, R5, R12).

Asked is whether the lease is still this attempt's; that and the write are two statements in two places, so a
process that is frozen between them writes late: the check narrows that, and cannot close it. Told is that the
write is there: what a run has entered, and how often it got further, stands where the sweep looks.
"""

from __future__ import annotations

from holdfast.conf import settings
from holdfast.errors import DatabaseUnreachableError
from holdfast.persistence.fence import Fence
from holdfast.persistence.saver.asking import Ask
from holdfast.persistence.saver.statements import Statements


class Lease:
    """One attempt's lease, as a backend needs it. Thread-safe."""

    def __init__(self, fence: Fence, where: str) -> None:
        """``where``: the backend as it may be shown."""
        self.fence = fence
        self._where = where
        self._statements = Statements(settings().DATABASE, None)

    def check(self) -> None:
        """Before a write. Raises LeaseLostError (P2), and OutageError if nobody can tell.

        Nothing is stored behind a hole: once a write was given up, those that follow are refused as it was.
        """
        if self.fence.broken:
            raise DatabaseUnreachableError(
                "An earlier write of this attempt was given up.", alias=self._where
            )
        self._ask("backend_check", {})

    def note(self, *, checkpoint_id: str | None = None) -> None:
        """After a write that got the run further; with an id, of the first checkpoint of the run (R5)."""
        params: dict[str, object] = {
            "thread_id": self.fence.thread_id,
            "checkpoint_id": checkpoint_id,
            "backend": self._where,
        }
        self._ask("backend_note", params)
        self.fence.progressed = True
        if checkpoint_id is not None:
            self.fence.entered = True

    def _ask(self, name: str, params: dict[str, object]) -> None:
        try:
            rows = self._statements.rows(Ask(name, params | self.fence.params))
        except DatabaseUnreachableError:
            self.fence.broken = True
            raise
        self.fence.check(rows[0][0])
