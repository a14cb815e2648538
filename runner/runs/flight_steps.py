"""What a task does that needs a cached value which nobody had when its step began (P5): take it, wait, or compute.

A generator that yields what is to be done and receives its outcome, written once for threads and asyncio tasks;
``single_flight`` performs the steps. It leads, and computes; or another leads, and it waits until the value is
there or the leader has failed or died, and then tries again. A lead is taken when the node begins, so never by one
that stands in line for its slot.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from langgraph._internal._constants import ERROR, INTERRUPT, NO_WRITES, RETURN
from langgraph.errors import GraphInterrupt
from langgraph.pregel._task_status import CONTROL_WRITES
from langgraph.types import PregelExecutableTask

from holdfast.errors import DatabaseUnreachableError, LeaseLostError
from holdfast.faults import point
from holdfast.persistence.node_cache.flights import Ask, Flight
from holdfast.persistence.node_cache.tally import TROUBLE
from holdfast.runner.runs import boundary
from holdfast.runner.runs.attempt import Attempt
from holdfast.runner.runs.room import Slot

logger = logging.getLogger("holdfast.flights")

Writes = list[tuple[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Passenger:
    """A task of an attempt, in its slot, and the flight that it needs."""

    flight: Flight
    task: PregelExecutableTask
    attempt: Attempt
    slot: Slot | None

    def unwanted(self) -> bool:
        """Whether nobody waits for the task any more: a sibling has failed."""
        return self.slot is not None and any(slot.unwanted for slot in self.slot.chain())

    def stopped(self) -> bool:
        """Whether it is not to go on, nor to wait."""
        return self.unwanted() or boundary.is_leaving(self.attempt)


@dataclass(frozen=True, slots=True)
class Look:
    """A step: ask the cache for the value."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A step: wait for news of the flight, in nobody's slot."""


@dataclass(frozen=True, slots=True)
class Return:
    """A step: have a slot again."""


@dataclass(frozen=True, slots=True)
class Body:
    """A step: let LangGraph execute the node; ``leads``: as the flight's leader."""

    leads: bool


Step = Ask | Look | Wait | Return | Body
Steps = Generator[Step, Any, Any]
Boarding = Generator[Step, Any, tuple[Writes | None, bool]]


def steps(passenger: Passenger) -> Steps:
    """What the task returns, found or computed. Raises what it raises, or GraphDrained in place of its beginning."""
    try:
        found, leads = yield from _board(passenger)
    except (LeaseLostError, DatabaseUnreachableError) as error:
        # No error of the node's: neither its retry policy nor its error handler are asked.
        boundary.leave(passenger.task, reason=type(error).__name__)
    if found is not None:
        return _take(passenger.task, found)
    began = time.monotonic()
    try:
        result = yield Body(leads)
    except BaseException:  # whatever ends a leader ends his lead
        yield from _give_up(passenger.flight, leads)
        raise
    yield from _land(passenger, leads, time.monotonic() - began)
    return result


def _board(passenger: Passenger) -> Boarding:
    """The value; or None, and whether to compute it as the leader."""
    flight = passenger.flight
    while True:
        try:
            holders, leads = (yield flight.lead())[0]
            flight.fence.check(holders)
            # Who led before may have stored it between LangGraph's look and this lead.
            found = (yield Look()) if leads else None
        except BaseException:  # perhaps the lead is ours all the same
            yield from _give_up(flight, True)
            raise
        if leads:
            if found is not None:
                yield from _give_up(flight, True)
            return found, True
        if flight.inside:
            yield flight.wait()
        news = yield Wait()
        if news == "over" and (found := (yield Look())) is not None:
            return found, False
        yield Return()  # before the lead: others would wait for it as long as for a slot
        _check(passenger)
        if news == "circle":
            return None, False


def _check(passenger: Passenger) -> None:
    if passenger.unwanted():
        raise GraphInterrupt  # with no question: it is neither stored nor raised, the sibling's error is
    if boundary.is_leaving(passenger.attempt):
        boundary.leave(passenger.task)


def _take(task: PregelExecutableTask, found: Writes) -> Any:
    """As if it had computed them: LangGraph marks an empty result itself, and a call returns its value."""
    task.writes.clear()
    task.writes.extend(write for write in found if write[0] != NO_WRITES)
    return next((value for channel, value in task.writes if channel == RETURN), None)


def _land(passenger: Passenger, leads: bool, cost: float) -> Steps:
    """Store what the task has written, as LangGraph does."""
    flight, writes = passenger.flight, list(passenger.task.writes)
    if any(channel in (INTERRUPT, ERROR) for channel, _ in writes):
        yield from _give_up(flight, leads)
        return
    if all(channel in CONTROL_WRITES for channel, _ in writes):
        writes.append((NO_WRITES, None))
    point("cache-before-set")
    try:
        yield flight.land(writes, cost=cost, leads=leads)
    except DatabaseUnreachableError as error:
        # The run still has its value. Whoever waits goes on when this attempt has ended, or its lease.
        logger.warning("the value of %s is not cached: %s", passenger.task.name, error)
    except BaseException:  # it cannot be stored: the next one says so, too
        yield from _give_up(flight, leads)
        raise


def _give_up(flight: Flight, leads: bool) -> Steps:
    if leads:
        try:
            yield flight.release()
        except TROUBLE as error:
            logger.debug("a flight ends with its attempt, or its lease: %s", error)
