"""Pools after fork, live settings, and connections that break (R3, R11)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connections
from langgraph.checkpoint.postgres import PostgresSaver

from holdfast.errors import ConfigurationError, DatabaseUnreachableError
from holdfast.persistence import DjangoSaver
from holdfast.persistence.connections import (
    close_pools,
    connect,
    conninfo,
    guard_session,
    lending,
    pool,
    retrying,
)
from tests.integration.claims import a_checkpoint, claim, config_for, wait_until_blocked
from tests.servers import PrivatePostgres, private_postgres

__all__ = ["private_postgres"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _pools() -> Iterator[None]:
    close_pools()
    yield
    close_pools()


def backend(connection: psycopg.Connection[Any]) -> int:
    return connection.info.backend_pid


def test_the_pool_uses_the_live_database_of_the_alias() -> None:
    with pool("default").connection() as connection:
        row = connection.execute("SELECT current_database()").fetchone()
    assert row == (connections["default"].settings_dict["NAME"],)
    assert "test_" in conninfo("default")["dbname"]


def test_options_of_the_alias_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {
        "options": "-c search_path=pg_catalog,public",
        "sslmode": "prefer",
        "assume_role": "pg_monitor",
    }
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", options)
    with connect("default") as connection:
        row = connection.execute(
            "SELECT current_setting('search_path'), current_user::text, current_setting('application_name')"
        ).fetchone()
    assert row == ("pg_catalog,public", "pg_monitor", "holdfast")
    assert conninfo("default")["sslmode"] == "prefer"
    assert conninfo("default")["prepare_threshold"] == 0


def test_an_alias_may_be_a_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = connections["default"].settings_dict
    file = tmp_path / "services"
    given = {"dbname": target["NAME"], "host": target["HOST"], "port": target["PORT"], "user": target["USER"]}
    file.write_text("[ours]\n" + "".join(f"{key}={value}\n" for key, value in given.items() if value))
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.setenv("PGPASSWORD", target["PASSWORD"] or "")
    for key in ("NAME", "HOST", "PORT", "USER", "PASSWORD"):
        monkeypatch.setitem(target, key, "")
    monkeypatch.setitem(target, "OPTIONS", {"service": "ours"})
    with connect("default") as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (given["dbname"],)


def test_behind_a_pooler_nothing_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    assert conninfo("default")["prepare_threshold"] is None


def test_an_unknown_alias_is_a_typed_error() -> None:
    with pytest.raises(ConfigurationError, match="no such alias"):
        DjangoSaver(using="nowhere").get_tuple(config_for("t"))


def test_sessions_have_the_limits_of_r11(settings: Any) -> None:
    settings.HOLDFAST = {"IDLE_IN_TRANSACTION": 7, "LEASE": 12}
    show = "SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('client_connection_check_interval')"
    with connect("default") as connection:
        assert connection.execute(show).fetchone() == ("7s", "4s")
    guard_session(connections["default"])
    with connections["default"].cursor() as cursor:
        cursor.execute(show)
        assert cursor.fetchone() == ("7s", "4s")
    connections["default"].close()


def test_there_are_never_more_connections_than_the_pool_size(settings: Any) -> None:
    settings.HOLDFAST = {"POOL_SIZE": 2}
    seen: set[int] = set()
    gate = threading.Barrier(2)

    def use(meet: bool) -> None:
        with pool("default").connection() as connection:
            seen.add(backend(connection))
            if meet:
                gate.wait(10)

    threads = [threading.Thread(target=use, args=(number < 2,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 2


def test_a_transaction_left_open_is_rolled_back() -> None:
    with pool("default").connection() as connection:
        first = backend(connection)
        connection.execute("BEGIN")
    with pool("default").connection() as connection:
        assert backend(connection) == first
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_child_opens_its_own_connections_and_leaves_the_parents_alone() -> None:
    with pool("default").connection() as connection:
        parent = backend(connection)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with pool("default").connection() as own:
                os.write(writer, str(backend(own)).encode())
            close_pools()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as answers:
        assert int(answers.read()) != parent
    with pool("default").connection() as connection:
        assert backend(connection) == parent
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_p2_a_broken_connection_costs_a_node_nothing() -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)
    checkpoint, versions = a_checkpoint(saver, n=[1])
    saver.put(config_for(fence.thread_id), checkpoint, {}, versions)
    with pool("default").connection() as connection, connect("default") as killer:
        killer.execute("SELECT pg_terminate_backend(%s)", [backend(connection)])
        # The client has not noticed yet: its next statement will.
    again, versions = a_checkpoint(saver, n=[2])
    saver.put(config_for(fence.thread_id), again, {}, versions)
    found = saver.get_tuple(config_for(fence.thread_id))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"n": [2]}


def test_one_broken_connection_tells_of_all_that_nobody_uses(settings: Any) -> None:
    """After a restart of the server each of them would fail, one call after the other."""
    settings.HOLDFAST = {"POOL_SIZE": 5}
    with ExitStack() as used:
        pids = [backend(used.enter_context(pool("default").connection())) for _ in range(5)]
    with connect("default") as other:
        for pid in pids:
            assert other.execute("SELECT pg_terminate_backend(%s, 20000)", [pid]).fetchone() == (True,)
    tried: list[int] = []

    def work(connection: psycopg.Connection[Any]) -> None:
        tried.append(backend(connection))
        connection.execute("SELECT 1")

    retrying("default", work)
    assert len(tried) == 2
    assert tried[0] in pids
    assert tried[1] not in pids


def test_r3_a_write_whose_commit_is_unknown_is_repeated() -> None:
    fence = claim()
    saver = DjangoSaver(fence=fence)
    checkpoint, versions = a_checkpoint(saver, n=[1])
    answers = iter([True, False])
    original = psycopg.Cursor.fetchall

    def breaks_once(cursor: psycopg.Cursor[Any]) -> Any:
        rows = original(cursor)
        if next(answers, False):  # committed, but the answer is lost
            cursor.connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Cursor, "fetchall", breaks_once)
        saver.put(config_for(fence.thread_id), checkpoint, {}, versions)
    assert fence.entered
    assert not fence.lost
    assert len(list(saver.list(config_for(fence.thread_id)))) == 1


def test_a_database_that_does_not_answer_is_a_typed_error_after_the_given_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "PORT", "1")
    with pytest.raises(DatabaseUnreachableError) as caught:
        retrying("default", lambda connection: None, seconds=0.1)
    assert caught.value.alias == "default"


def test_other_errors_are_not_repeated() -> None:
    tries = []

    def work(connection: psycopg.Connection[Any]) -> None:
        tries.append(1)
        connection.execute("SELECT 1/0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        retrying("default", work)
    assert len(tries) == 1


def test_a_lent_connection_sees_what_is_not_committed() -> None:
    with connect("default") as connection:
        with connection.transaction(force_rollback=True), lending("default", connection):
            saver, thread_id = DjangoSaver(), str(uuid4())
            checkpoint, versions = a_checkpoint(saver, n=[1])
            saver.put(config_for(thread_id), checkpoint, {}, versions)
            assert saver.get_tuple(config_for(thread_id)) is not None
    assert DjangoSaver().get_tuple(config_for(thread_id)) is None


def test_djangos_own_connection_can_be_lent() -> None:
    from django.db import transaction

    fence = claim()
    with transaction.atomic():
        wrapper = connections["default"]
        wrapper.ensure_connection()
        with lending("default", wrapper.connection):
            saver = DjangoSaver(fence=fence)
            checkpoint, versions = a_checkpoint(saver, n=[1])
            saver.put(config_for(fence.thread_id), checkpoint, {"a": 1}, versions)
            found = saver.get_tuple(config_for(fence.thread_id))
            assert found is not None
            assert found.checkpoint["channel_values"] == {"n": [1]}
        transaction.set_rollback(True)
    assert DjangoSaver().get_tuple(config_for(fence.thread_id)) is None


def test_the_server_may_be_restarted_between_two_checkpoints(
    private_postgres: PrivatePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = {
        "HOST": "127.0.0.1",
        "PORT": str(private_postgres.port),
        "USER": "postgres",
        "NAME": "postgres",
    }
    for key, value in elsewhere.items():
        monkeypatch.setitem(connections["default"].settings_dict, key, value)
    saver, thread_id = DjangoSaver(), str(uuid4())
    retrying("default", lambda connection: PostgresSaver(connection).setup())
    checkpoint, versions = a_checkpoint(saver, n=[1])
    saver.put(config_for(thread_id), checkpoint, {}, versions)
    private_postgres.stop("immediate")
    starter = threading.Thread(target=private_postgres.start)
    starter.start()
    saver.put_writes(config_for(thread_id, checkpoint_id=checkpoint["id"]), [("n", [2])], "task")
    starter.join(30)
    found = saver.get_tuple(config_for(thread_id))
    assert found is not None
    assert found.pending_writes == [("task", "n", [2])]


def test_p1_a_migration_beside_a_worker_costs_no_run() -> None:
    """A column more changes what a prepared ``SELECT *`` returns, which PostgreSQL refuses: planned anew, it goes on."""
    with connect("default") as elsewhere:
        elsewhere.execute("CREATE TABLE migrated (n int)")
        try:
            for _ in range(2):
                retrying(
                    "default", lambda own: own.execute("SELECT * FROM migrated", prepare=True).fetchall()
                )
            elsewhere.execute("ALTER TABLE migrated ADD COLUMN m int")
            retrying("default", lambda own: own.execute("SELECT * FROM migrated", prepare=True).fetchall())
        finally:
            elsewhere.execute("DROP TABLE migrated")


def test_p1_the_time_limits_of_a_role_end_no_statement_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    fence = claim()
    limits = {"options": "-c statement_timeout=100 -c lock_timeout=20"}
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", limits)
    saver = DjangoSaver(fence=fence)
    checkpoint, versions = a_checkpoint(saver, items=["a"], count=1)
    with pool("default").connection() as connection:
        pid = backend(connection)
    with connect("default") as other, ThreadPoolExecutor(1) as writer:
        with other.transaction():
            other.execute("SELECT FROM holdfast_run WHERE id = %s FOR UPDATE", (fence.run_id,))
            writing = writer.submit(
                saver.put, config_for(fence.thread_id), checkpoint, {"source": "loop", "step": 1}, versions
            )
            wait_until_blocked(other, pid)
            other.execute("SELECT pg_sleep(0.3)")
        assert writing.result(10)["configurable"]["checkpoint_id"] == checkpoint["id"]
