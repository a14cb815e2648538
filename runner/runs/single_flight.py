"""Single flight: of all runs that need one cached value at the same time, one computes it (P5, R21).

LangGraph looks for the values of a step's nodes once, before it begins. Whoever has found nothing comes here when
it is about to begin, in its own slot (``room``), which a sibling has while it waits. A leader whose own node
needs further values waits for nobody who waits for him: that value he computes himself, too. Only runs fly: their
leases tell others that they live. What is computed is stored here, before LangGraph hands it to its cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Final
from uuid import UUID

from langgraph._internal._constants import CONFIG_KEY_CALL
from langgraph.cache.base import FullKey
from langgraph.types import PregelExecutableTask

from holdfast.persistence import DjangoCache
from holdfast.persistence.node_cache.asking import aask, ask
from holdfast.persistence.node_cache.flights import Ask, Flight
from holdfast.runner.runs.attempt import Attempt, current_attempt
from holdfast.runner.runs.flight_steps import Body, Look, Passenger, Return, Step, Wait, steps
from holdfast.runner.runs.process import here
from holdfast.runner.runs.room import current_slot
from holdfast.runner.runs.waiters import waiters

_OF_NODE: Final = 3
"""Parts of a node's namespace: LangGraph's mark, the function, the node. That of a call has no node."""

_inside: ContextVar[tuple[UUID, ...]] = ContextVar("holdfast_flights", default=())
"""The holders of the flights that the calling code computes for."""


def covers(cache: object) -> bool:
    """Whether what the calling code's run computes for that cache is stored here."""
    attempt = current_attempt()
    return attempt is not None and isinstance(cache, DjangoCache) and cache.alias == attempt.alias


def key_of(task: PregelExecutableTask, cache: object) -> FullKey:
    """Where a cached task's value stands in the cache of its graph.

    Under LangGraph's own key, but of a node in a subgraph whose function has no name of its own (an async one, a
    partial, a closure) that would be another subgraph's, too: there it ends with the way to the subgraph.
    """
    assert task.cache_key is not None  # asked for cached tasks only
    namespace, key = task.cache_key.ns, task.cache_key.key
    if len(namespace) == _OF_NODE and covers(cache):
        code = namespace[1]
        around = task.config["metadata"]["langgraph_checkpoint_ns"].split("|")[:-1]
        if around and ("<" in code or code == "__dynamic__"):
            key = "/".join([key, *(name.partition(":")[0] for name in around)])
    return namespace, key


def passenger(attempt: Attempt, task: PregelExecutableTask, configurable: dict[str, Any]) -> Passenger | None:
    """The cached task that is about to begin, with its flight.

    None if its cache is not in the run's own database, and for a value that lives for no time: those who wait
    would compute it one after the other.
    """
    # Of the loop that executes the task: a subgraph may have been compiled with a cache of its own.
    cache = configurable[CONFIG_KEY_CALL].keywords["schedule_task"].__self__.cache
    if task.cache_key is None or not covers(cache):
        return None
    if task.cache_key.ttl is not None and task.cache_key.ttl <= 0:
        return None
    flight = Flight(
        cache=cache,
        key=key_of(task, cache),
        ttl=task.cache_key.ttl,
        fence=attempt.fence,
        inside=_inside.get(),
    )
    return Passenger(flight=flight, task=task, attempt=attempt, slot=current_slot())


def run(passenger: Passenger, body: Callable[[], Any]) -> Any:
    """Take the value, or execute the body for all who need it."""
    going = steps(passenger)
    try:
        step = next(going)
        while True:
            try:
                outcome = _do(passenger, step, body)
            except BaseException as error:  # noqa: BLE001 - the protocol decides
                step = going.throw(error)
            else:
                step = going.send(outcome)
    except StopIteration as stop:
        return stop.value


async def arun(passenger: Passenger, body: Callable[[], Awaitable[Any]]) -> Any:
    """As ``run``, for an asyncio task."""
    going = steps(passenger)
    try:
        step = next(going)
        while True:
            try:
                outcome = await _ado(passenger, step, body)
            except BaseException as error:  # noqa: BLE001 - the protocol decides
                step = going.throw(error)
            else:
                step = going.send(outcome)
    except StopIteration as stop:
        return stop.value


def _do(passenger: Passenger, step: Step, body: Callable[[], Any]) -> Any:
    flight, slot = passenger.flight, passenger.slot
    match step:
        case Ask():
            rows = ask(flight.cache.alias, step.name, step.params, seconds=step.patience)
            _tell(flight, step)
            return rows
        case Look():
            return flight.cache.get([flight.key]).get(flight.key)
        case Wait():
            if slot is not None:
                slot.rest()
            news = waiters().wait(flight, passenger.stopped)
            try:
                return news.result()
            finally:
                news.cancel()
        case Return():
            if slot is not None and not passenger.stopped():
                slot.resume()
            return None
        case Body():
            with _leading(flight, step):
                return body()


async def _ado(passenger: Passenger, step: Step, body: Callable[[], Awaitable[Any]]) -> Any:
    flight, slot = passenger.flight, passenger.slot
    match step:
        case Ask():
            asked = asyncio.ensure_future(
                aask(flight.cache.alias, step.name, step.params, seconds=step.patience)
            )
            try:
                rows = await asyncio.shield(asked)
            except asyncio.CancelledError:
                # Let it come to its end first: a lead that it takes is then there to be given up.
                await asyncio.wait({asked})
                raise
            _tell(flight, step)
            return rows
        case Look():
            return (await flight.cache.aget([flight.key])).get(flight.key)
        case Wait():
            if slot is not None:
                slot.rest()
            return await asyncio.wrap_future(waiters().wait(flight, passenger.stopped))
        case Return():
            if slot is not None and not passenger.stopped():
                await slot.aresume()
            return None
        case Body():
            with _leading(flight, step):
                return await body()


def _tell(flight: Flight, asked: Ask) -> None:
    if asked.name in ("cache_set", "flight_release"):
        waiters().ended(flight)


@contextmanager
def _leading(flight: Flight, step: Body) -> Iterator[None]:
    if not step.leads:
        yield
        return
    reset = _inside.set((*flight.inside, flight.holder))
    try:
        # Where the heartbeat renews the run's lease, the flight has that.
        with nullcontext() if here().beating else waiters().renewing(flight):
            yield
    finally:
        _inside.reset(reset)
