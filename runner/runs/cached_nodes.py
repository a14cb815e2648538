"""How LangGraph treats cached nodes and calls inside a run: they go through ``single_flight`` when they begin (P5).

A subgraph that is compiled without a cache has none in LangGraph, whatever its nodes' policies say; here it has
that of the graph around it. LangGraph also looks for the values of tasks that have begun already, whenever a node
calls a ``@task``. Where it finds one that another worker has stored meanwhile, it appends it to what the task
itself writes, and reducers see it twice (seen with 1.2.22). Here it looks only for those that have not begun. There
is no public way to any of it, so it is replaced, by ``executors.install``; outside of runs they are LangGraph's
own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Final

from langgraph.cache.base import BaseCache, FullKey
from langgraph.pregel import _loop, _runner
from langgraph.types import PregelExecutableTask

from holdfast.runner.runs import single_flight
from holdfast.runner.runs.attempt import Attempt, current_attempt
from holdfast.runner.runs.flight_steps import Passenger

_around: ContextVar[BaseCache[Any] | None] = ContextVar("holdfast_cache", default=None)
"""The cache of the graph that the calling code executes in."""

Tasks = dict[FullKey, list[PregelExecutableTask]]

_run: Final = vars(_runner)["run_with_retry"]
_arun: Final = vars(_runner)["arun_with_retry"]
_match: Final = _loop.SyncPregelLoop.match_cached_writes
_amatch: Final = _loop.AsyncPregelLoop.amatch_cached_writes


def _begin(task: PregelExecutableTask, configurable: dict[str, Any] | None) -> Passenger | None:
    attempt = current_attempt()
    if attempt is None or task.cache_key is None or configurable is None:
        return None
    with attempt.beginning:
        attempt.begun.add(task.id)
    return single_flight.passenger(attempt, task, configurable)


def run_with_retry(
    task: PregelExecutableTask, retry_policy: Any, configurable: dict[str, Any] | None = None
) -> Any:
    """Execute the task, or take its value from whoever executes it elsewhere."""
    execute = partial(_run, task, retry_policy, configurable)
    passenger = _begin(task, configurable)
    return execute() if passenger is None else single_flight.run(passenger, execute)


async def arun_with_retry(
    task: PregelExecutableTask,
    retry_policy: Any,
    stream: bool = False,
    configurable: dict[str, Any] | None = None,
) -> Any:
    """As ``run_with_retry``, for an asyncio task."""
    execute = partial(_arun, task, retry_policy, stream, configurable)
    passenger = _begin(task, configurable)
    return await (execute() if passenger is None else single_flight.arun(passenger, execute))


def match_cached_writes(loop: _loop.SyncPregelLoop) -> Sequence[PregelExecutableTask]:
    """Give their values to the tasks that have not begun; those that got one."""
    attempt = current_attempt()
    if attempt is None or (cache := _cache_of(loop)) is None:
        return _match(loop)
    wanted = _not_begun(attempt, loop.tasks.values(), cache)
    return _give(attempt, wanted, cache.get(tuple(wanted))) if wanted else ()


async def amatch_cached_writes(loop: _loop.AsyncPregelLoop) -> Sequence[PregelExecutableTask]:
    """As ``match_cached_writes``, for an asyncio task."""
    attempt = current_attempt()
    if attempt is None or (cache := _cache_of(loop)) is None:
        return await _amatch(loop)
    wanted = _not_begun(attempt, loop.tasks.values(), cache)
    return _give(attempt, wanted, await cache.aget(tuple(wanted))) if wanted else ()


def _cache_of(loop: _loop.PregelLoop) -> BaseCache[Any] | None:
    """The loop's own; that of the graph around it for a subgraph without one, from its first step on."""
    if loop.cache is None and loop.is_nested:
        loop.cache = _around.get()
    _around.set(loop.cache)
    return loop.cache


def _not_begun(attempt: Attempt, tasks: Iterable[PregelExecutableTask], cache: object) -> Tasks:
    wanted: Tasks = {}
    for task in list(tasks):
        if task.cache_key and not task.writes and task.id not in attempt.begun:
            wanted.setdefault(single_flight.key_of(task, cache), []).append(task)
    return wanted


def _give(attempt: Attempt, wanted: Tasks, found: dict[FullKey, Any]) -> list[PregelExecutableTask]:
    matched = []
    for key, writes in found.items():
        for task in wanted[key]:
            with attempt.beginning:
                if task.id not in attempt.begun and not task.writes:
                    task.writes.extend(writes)
                    matched.append(task)
    return matched


def install() -> None:
    """From now on, this process's runs treat them so."""
    vars(_runner)["run_with_retry"] = run_with_retry
    vars(_runner)["arun_with_retry"] = arun_with_retry
    loops: Any = _loop
    loops.SyncPregelLoop.match_cached_writes = match_cached_writes
    loops.AsyncPregelLoop.amatch_cached_writes = amatch_cached_writes
