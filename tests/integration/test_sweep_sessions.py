"""R9, R8: when a lease is lost, statement by statement; the clock of the database is moved, nobody waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from holdfast.persistence import ledger
from holdfast.persistence.connections import conninfo
from holdfast.persistence.ids import RunId
from holdfast.persistence.models import Incarnation, RunRow
from holdfast.runner.runs.heartbeat import Heartbeat
from holdfast.runner.runs.process import Process
from tests.acceptance.waiting import until
from tests.integration.claims import claim
from tests.integration.lifecycle import bells

__all__ = ["bells"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("bells", "incarnation")]

GONE, LEASE = 100.0, 1000.0
"""Seconds; a slow machine takes less for a test."""


@pytest.fixture
def incarnation(settings: Any) -> None:
    """The server's incarnation is older than all leases."""
    settings.HOLDFAST = {"SESSION_GONE": GONE, "LEASE": LEASE}
    ledger.sweep_lost()


@pytest.fixture
def holder() -> Iterator[psycopg.Connection[Any]]:
    """The session of a worker's heartbeat."""
    with psycopg.connect(**conninfo("default"), autocommit=True) as session:
        yield session


def leased(session: psycopg.Connection[Any] | None, *, start_off: timedelta = timedelta()) -> RunId:
    """A run that is executed by the holder of that session; by None behind a pooler."""
    run_id = claim().run_id
    if session is not None:
        pid, start = session.execute(
            "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        ).fetchone() or (None, None)
        RunRow.objects.filter(id=run_id).update(session_pid=pid, session_start=start + start_off)
    return run_id


def end(session: psycopg.Connection[Any]) -> None:
    pid = session.info.backend_pid
    session.close()
    alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"

    def gone() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(alive, [pid])
            return cursor.fetchone() == (0,)

    until(gone, 10, "the server has noticed")


def lost_after(seconds: float) -> list[tuple[RunId, bool]]:
    """Which runs a sweep so much later takes away, and whether because their lease had expired."""
    with connection.cursor() as cursor:
        cursor.execute("SET holdfast.clock_offset = %s", [f"{seconds} s"])
        try:
            return [(lost.run.id, lost.expired) for lost in ledger.sweep_lost()]
        finally:
            cursor.execute("RESET holdfast.clock_offset")


def test_r9_a_lease_whose_session_lives_is_lost_when_it_expires(holder: psycopg.Connection[Any]) -> None:
    run_id = leased(holder)
    assert lost_after(LEASE / 2) == []
    assert lost_after(LEASE + 1) == [(run_id, True)]


def test_r9_a_lease_whose_session_is_gone_is_lost_once_it_was_not_renewed_for_a_while(
    holder: psycopg.Connection[Any],
) -> None:
    run_id = leased(holder)
    end(holder)
    assert lost_after(0) == []
    assert lost_after(GONE + 1) == [(run_id, False)]


def test_r9_a_process_that_has_got_the_same_pid_is_not_taken_for_the_holder(
    holder: psycopg.Connection[Any],
) -> None:
    run_id = leased(holder, start_off=timedelta(microseconds=-1))
    assert lost_after(GONE + 1) == [(run_id, False)]


def test_r9_a_session_whose_start_another_role_may_not_see_is_unknown_and_not_gone(
    holder: psycopg.Connection[Any],
) -> None:
    run_id = leased(holder)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE ROLE holdfast_test_sweeper")
        cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO holdfast_test_sweeper")
        cursor.execute("SET LOCAL ROLE holdfast_test_sweeper")
        cursor.execute("SELECT backend_start FROM pg_stat_activity WHERE pid = %s", [holder.info.backend_pid])
        assert cursor.fetchone() == (None,)
        assert lost_after(GONE + 1) == []
        assert lost_after(LEASE + 1) == [(run_id, True)]
        transaction.set_rollback(True)  # the role goes with it


def test_r9_a_lease_of_an_earlier_incarnation_counts_from_the_present_one(
    holder: psycopg.Connection[Any],
) -> None:
    run_id = leased(holder)
    end(holder)  # as all sessions are when the server has crashed
    Incarnation.objects.all().delete()  # as the crash does with an UNLOGGED table
    RunRow.objects.filter(id=run_id).update(renewed_at=RunRow.objects.get().renewed_at - timedelta(hours=1))
    assert lost_after(0) == [], "what was before the crash says nothing about the holder"
    assert lost_after(GONE + 1) == []
    assert lost_after(LEASE + 1) == [(run_id, True)]


def test_r9_an_unlogged_table_tells_incarnations_apart() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpersistence::text FROM pg_class WHERE relname = 'holdfast_incarnation'")
        assert cursor.fetchone() == ("u",)


def test_r9_behind_a_pooler_only_expiry_decides() -> None:
    run_id = leased(None)
    assert lost_after(LEASE / 2) == []
    assert lost_after(LEASE + 1) == [(run_id, True)]


def test_r9_a_process_that_was_late_itself_judges_nobody_for_one_lease(settings: Any) -> None:
    settings.HOLDFAST = {"HEARTBEAT": 0.1, "LEASE": 1.5, "IDLE_IN_TRANSACTION": 1.0}
    here = Process()
    heartbeat = Heartbeat(here)
    heartbeat._beat()
    here.last_beat -= 1.0  # so long the database was away, or the process stopped
    began = time.monotonic()
    heartbeat._beat()
    run_id = claim().run_id
    RunRow.objects.filter(id=run_id).update(renewed_at=RunRow.objects.get().renewed_at - timedelta(hours=1))
    Incarnation.objects.update(since=Incarnation.objects.get().since - timedelta(hours=1))

    def swept() -> bool:
        heartbeat._sweep()
        return RunRow.objects.get().status == "queued"

    until(swept, 30, "it judges again")
    assert time.monotonic() - began >= 1.5
