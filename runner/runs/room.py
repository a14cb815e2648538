"""The slots in which a run's nodes and calls execute: as many at once as LangGraph, or ``max_concurrency``, lets.

A node that waits for a value which another worker computes (``single_flight``) gives its slot to a sibling
meanwhile, and so do those that wait for it in turn: who called it, and the node around its subgraph. Whoever has
to compute after all waits for a slot, ahead of those who have not begun. Those in turn go on as soon as it has
ended, even where that makes one too many for a moment: would they wait for their slots too, each could have
what the other waits for. Threads and asyncio tasks alike; nothing here knows what a node does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Final

from holdfast.persistence.connections.semaphore import Semaphore

MOST_OUT: Final = 64
"""Threads of one room that may wait outside of their slots; more keep theirs, so that threads stay few."""


class Room:
    """The slots of one graph's nodes; ``slots`` None: any number. ``most_out``: how many may be given up at once."""

    def __init__(self, slots: int | None, *, most_out: int | None = None) -> None:
        self.permits = None if slots is None else Semaphore(slots)
        self.may_leave = None if most_out is None else threading.Semaphore(most_out)


class Slot:
    """One node's slot in a room. ``around``: that of the node that calls it, or whose subgraph it is in."""

    def __init__(self, room: Room, around: Slot | None) -> None:
        self._room = room
        self._around = around
        self._lock = threading.Lock()
        self._held = False
        self._out = False
        self._over = False
        self._waiting_inside = 0
        self._rested = False
        self.unwanted = False
        """Whether nobody wants to know any more what the node does: a sibling has failed."""

    def chain(self) -> Iterator[Slot]:
        """This one and those around it."""
        slot: Slot | None = self
        while slot is not None:
            yield slot
            slot = slot._around

    def turn(self) -> Future[None] | None:
        """Stand in line for it; None: it is this node's turn already. ``begin`` follows, or ``end``."""
        return None if self._room.permits is None else self._room.permits.turn()

    def begin(self) -> None:
        """The turn has come."""
        with self._lock:
            self._held = True

    async def abegin(self) -> None:
        """Wait for the turn."""
        if self._room.permits is not None:
            await self._room.permits.aacquire()
        self.begin()

    def end(self) -> None:
        """The node has ended, or will not begin."""
        with self._lock:
            self._over = True
            rested, self._rested = self._rested, False
        self._leave(for_good=True)
        if rested:
            for slot in list(self.chain())[1:]:
                slot._goes_on()

    def rest(self) -> None:
        """The node waits: others may have its slot, and the slots of those who wait for it."""
        with self._lock:
            first, self._rested = not self._rested, True
        self._leave()
        if first:
            for slot in list(self.chain())[1:]:
                slot._waits()

    def resume(self) -> None:
        """Wait for a slot again, before computing."""
        if self._room.permits is not None and self._is_out():
            self._room.permits.acquire(first=True)
            self._comes_back()

    async def aresume(self) -> None:
        """As ``resume``, for a task."""
        if self._room.permits is not None and self._is_out():
            await self._room.permits.aacquire(first=True)
            self._comes_back()

    def _waits(self) -> None:
        with self._lock:
            self._waiting_inside += 1
        self._leave()

    def _goes_on(self) -> None:
        with self._lock:
            self._waiting_inside -= 1
            if self._waiting_inside or not self._out or self._over:
                return
        if self._room.permits is not None:
            self._room.permits.acquire_anyway()
            self._comes_back()

    def _is_out(self) -> bool:
        with self._lock:
            return self._out

    def _leave(self, *, for_good: bool = False) -> None:
        """Give the slot up, if it is held; only for good where too many have done so already."""
        limit = self._room.may_leave
        with self._lock:
            if for_good and self._out and limit is not None:
                limit.release()
            if for_good:
                self._out = False
            if not self._held or not (for_good or limit is None or limit.acquire(blocking=False)):
                return
            self._held, self._out = False, not for_good
        if self._room.permits is not None:
            self._room.permits.release()

    def _comes_back(self) -> None:
        with self._lock:
            back = self._out  # not if it has ended meanwhile, or came back otherwise
            if back:
                self._held, self._out = True, False
                if self._room.may_leave is not None:
                    self._room.may_leave.release()
        if not back and self._room.permits is not None:
            self._room.permits.release()


_current: ContextVar[Slot | None] = ContextVar("holdfast_slot", default=None)


def current_slot() -> Slot | None:
    """The slot that the calling code executes in; None at the top of a run, and outside of runs."""
    return _current.get()


def enter(slot: Slot) -> None:
    """From here on, this context executes in that slot. For a context of the node's own."""
    _current.set(slot)
