"""Behind a pooler that shares sessions: nothing is prepared, and nothing is set that would outlive a transaction."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connections

import holdfast
from holdfast.errors import ConfigurationError
from holdfast.persistence import DjangoSaver
from holdfast.persistence.connections import close_pools, connect, opening
from holdfast.persistence.retention import prune
from holdfast.testing import run_now
from tests.acceptance.journal.pages import notes, page
from tests.integration.claims import a_checkpoint, chain, config_for
from tests.integration.lifecycle import bells
from tests.integration.threads import keep
from tests.poolers import SESSIONS, PgBouncer, pgbouncer

__all__ = ["bells", "pgbouncer"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("bells")]

SETTINGS = (
    "idle_in_transaction_session_timeout",
    "client_connection_check_interval",
    "default_transaction_isolation",
    "lock_timeout",
    "synchronous_commit",
    "jit",
    "role",
)


def session_settings(connection: psycopg.Connection[Any]) -> list[str]:
    return [connection.execute("SELECT current_setting(%s)", [name]).fetchall()[0][0] for name in SETTINGS]


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The alias says that sessions are shared, as Django wants to be told."""
    close_pools()
    monkeypatch.setitem(connections["default"].settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    yield
    close_pools()


@pytest.fixture
def pooled(shared: None, pgbouncer: PgBouncer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PgBouncer]:
    """Django and Holdfast reach the database through PgBouncer."""
    connections["default"].close()
    monkeypatch.setitem(connections["default"].settings_dict, "HOST", "127.0.0.1")
    monkeypatch.setitem(connections["default"].settings_dict, "PORT", str(pgbouncer.port))
    yield pgbouncer
    connections["default"].close()
    close_pools()


def test_a_shared_session_keeps_its_settings(shared: None) -> None:
    with psycopg.connect(**opening.conninfo("default"), autocommit=True) as plain, connect("default") as ours:
        assert ours.prepare_threshold is None
        saver = DjangoSaver(connection=ours)
        checkpoint, versions = a_checkpoint(saver, items=[1])
        saver.get_tuple(saver.put(config_for(str(uuid4())), checkpoint, {}, versions))
        assert session_settings(ours) == session_settings(plain)
        assert ours.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


def test_what_cannot_be_set_there_is_an_error_that_says_what_to_do(
    shared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = connections["default"].settings_dict["OPTIONS"]
    with monkeypatch.context() as patch:
        patch.setitem(options, "assume_role", "pg_monitor")
        with pytest.raises(ConfigurationError, match="assume_role"):
            connect("default")
    monkeypatch.setitem(options, "options", "-c default_transaction_isolation=serializable")
    with pytest.raises(ConfigurationError, match=r"READ COMMITTED.*ALTER ROLE"):
        connect("default")


def test_a_limit_that_is_missing_there_is_told_once(
    shared: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(opening, "_told", set())
    with caplog.at_level(logging.WARNING, "holdfast.connections"):
        for _ in range(2):
            connect("default").close()
    assert [
        record.getMessage().count("idle_in_transaction_session_timeout") for record in caplog.records
    ] == [1]


def test_runs_and_retention_work_through_pgbouncer_and_leave_its_sessions_as_they_were(
    pooled: PgBouncer,
) -> None:
    with pooled.connect() as other:
        before = session_settings(other)
    for number in range(3):
        run = run_now(holdfast.enqueue("journal", page(f"r{number}"), thread_id="pooled"))
        assert run.status == "succeeded", run.error
    assert run.result["notes"] == [note for number in range(3) for note in notes(f"r{number}")]
    assert prune(keep(keep_last=1)).checkpoints > 0
    assert holdfast.state("pooled").values["notes"] == run.result["notes"]
    seen: dict[int, list[str]] = {}
    gate = threading.Barrier(SESSIONS)

    def look() -> None:
        with pooled.connect() as other, other.transaction():  # both sessions are taken at once
            gate.wait(20)
            seen[other.execute("SELECT pg_backend_pid()").fetchall()[0][0]] = session_settings(other)

    threads = [threading.Thread(target=look) for _ in range(SESSIONS)]
    connections["default"].close()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(seen) == SESSIONS
    assert all(found == before for found in seen.values())


def test_threads_that_share_few_sessions_lose_nothing(pooled: PgBouncer, settings: Any) -> None:
    settings.HOLDFAST = {"POOL_SIZE": 6}
    saver = DjangoSaver()
    graph = chain(6).compile(checkpointer=saver)
    names = [str(uuid4()) for _ in range(6)]
    failed: list[BaseException] = []

    def work(name: str) -> None:
        try:
            graph.invoke({"items": []}, config_for(name), durability="sync")
        except BaseException as error:  # for the test to look at
            failed.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []
    ends = [graph.get_state(config_for(name)).values for name in names]
    assert all(end == ends[0] for end in ends)
    assert len(ends[0]["items"]) == 6


def test_p2_a_restart_of_pgbouncer_costs_a_node_nothing(pooled: PgBouncer) -> None:
    saver = DjangoSaver()
    name = str(uuid4())
    config = config_for(name)
    for number in range(4):
        if number == 2:
            pooled.stop()
            threading.Timer(0.5, pooled.start).start()
        checkpoint, versions = a_checkpoint(saver, items=[number])
        config = dict(saver.put(config, checkpoint, {}, versions))
    assert len(list(saver.list(config_for(name)))) == 4
