"""Asyncio tasks and threads share one pool; a task's statement holds up neither its loop nor the others (R3)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from django.db import connections

from holdfast.errors import DatabaseUnreachableError
from holdfast.persistence.connections import aexecuting, close_pools, connect, retrying
from holdfast.persistence.connections.semaphore import Semaphore
from tests.servers import PrivatePostgres, private_postgres

__all__ = ["private_postgres"]

pytestmark = pytest.mark.django_db(transaction=True)

UNDER_WAY = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE datname = current_database() AND state = 'active' AND query = 'SELECT pg_sleep(30)'"
)


@pytest.fixture(autouse=True)
def _pools() -> Iterator[None]:
    close_pools()
    yield
    close_pools()


@pytest.fixture
def private(private_postgres: PrivatePostgres, monkeypatch: pytest.MonkeyPatch) -> PrivatePostgres:
    """A server of the test's own behind the alias."""
    target = {"HOST": "127.0.0.1", "PORT": str(private_postgres.port), "USER": "postgres", "NAME": "postgres"}
    for key, value in target.items():
        monkeypatch.setitem(connections["default"].settings_dict, key, value)
    return private_postgres


async def _pid() -> int:
    row = (await aexecuting("default", "SELECT pg_backend_pid()")).fetchone()
    assert row is not None
    return int(row[0])


def test_tasks_and_threads_use_the_same_connection() -> None:
    async def several() -> set[int]:
        return set(await asyncio.gather(*(_pid() for _ in range(5))))

    seen = asyncio.run(several())
    seen.add(retrying("default", lambda connection: connection.info.backend_pid))
    assert len(seen) == 1


def test_the_loop_goes_on_while_a_statement_is_under_way() -> None:
    async def both() -> int:
        ticks = 0
        statement = asyncio.create_task(aexecuting("default", "SELECT pg_sleep(0.3)"))
        while not statement.done():
            ticks += 1
            await asyncio.sleep(0.01)  # one tick of the loop
        return ticks

    assert asyncio.run(both()) > 3


def test_a_statement_that_is_cancelled_costs_its_connection_and_no_permit() -> None:
    async def cancelled() -> tuple[int, int]:
        before = await _pid()
        statement = asyncio.create_task(aexecuting("default", "SELECT pg_sleep(30)"))
        with connect("default") as eye:
            while not eye.execute(UNDER_WAY).fetchone():  # noqa: ASYNC110 - what has reached the server tells nobody
                await asyncio.sleep(0)  # lets it go on
        statement.cancel()
        with pytest.raises(asyncio.CancelledError):
            await statement
        return before, await _pid()

    before, after = asyncio.run(cancelled())
    assert before != after


def test_who_is_cancelled_while_he_waits_takes_no_permit() -> None:
    permits = Semaphore(1)

    async def wait() -> None:
        waiting = [asyncio.create_task(permits.aacquire()) for _ in range(3)]
        await asyncio.sleep(0)  # they wait
        waiting[0].cancel()
        permits.release()  # by the thread that had it
        await waiting[1]
        waiting[2].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        permits.release()

    permits.acquire()
    asyncio.run(wait())
    permits.acquire()  # it is free again


def test_a_permit_that_is_given_to_a_task_which_is_cancelled_at_that_moment_goes_on() -> None:
    permits = Semaphore(1)

    async def wait() -> None:
        waiting = asyncio.create_task(permits.aacquire())
        await asyncio.sleep(0)  # it waits
        permits.release()  # granted, but the task has not been told yet
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    permits.acquire()
    asyncio.run(wait())
    permits.acquire()


def test_permits_go_to_those_who_wait_longest() -> None:
    permits, order = Semaphore(1), list[int]()
    permits.acquire()

    def one(number: int) -> None:
        permits.acquire()
        order.append(number)
        permits.release()

    threads = []
    for number in range(4):
        threads.append(threading.Thread(target=one, args=(number,)))
        threads[-1].start()
        while len(permits._line) <= number:
            time.sleep(0.001)  # until it stands in line, which only the line tells
    permits.release()
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2, 3]


def test_r3_a_tasks_statement_survives_a_restart_of_the_server(private: PrivatePostgres) -> None:
    async def over_the_restart() -> None:
        before = await _pid()
        await asyncio.to_thread(private.restart, "immediate")
        assert before != await _pid()

    asyncio.run(over_the_restart())


def test_other_errors_are_raised_at_once_and_keep_the_connection() -> None:
    async def wrong() -> tuple[int, int]:
        before = await _pid()
        with pytest.raises(psycopg.errors.DivisionByZero):
            await aexecuting("default", "SELECT 1 / 0")
        return before, await _pid()

    before, after = asyncio.run(wrong())
    assert before == after


def test_r3_an_outage_ends_in_an_error_that_says_so(private: PrivatePostgres) -> None:
    async def gone() -> None:
        await asyncio.to_thread(private.stop)
        try:
            await aexecuting("default", "SELECT 1", seconds=0.2)
        finally:
            await asyncio.to_thread(private.start)

    with pytest.raises(DatabaseUnreachableError):
        asyncio.run(gone())
