"""Transactional effects: the body's rows and the ledger row commit together, exactly once (P4, R3, R11, R19)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from langgraph.func import entrypoint

from holdfast import current_effect, task
from holdfast.errors import EffectRefusedError, IdleInTransactionError, LeaseLostError
from holdfast.persistence import effects
from holdfast.persistence.connections import connect
from holdfast.persistence.models import Effect, RunRow
from holdfast.persistence.sql import query
from tests.integration.attempts import claim, execute, killed_at, ledger, take_over

pytestmark = pytest.mark.django_db(transaction=True)


def job_of(body: Callable[[str], Any]) -> Any:
    @task(effect="transactional", name="publish")
    def publish(name: str) -> Any:
        return body(name)

    @entrypoint()
    def job(name: str) -> Any:
        return publish(name).result()

    return job


def create(name: str) -> str:
    User.objects.create(username=name)
    return current_effect().key


@pytest.mark.parametrize("where", ["effect-after-body", "effect-in-transaction", "effect-after-commit"])
def test_p4_wherever_it_is_killed_the_effect_happens_exactly_once(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    job, first = job_of(create), claim()
    with killed_at(monkeypatch, where):
        execute(job, "ada", first)
    assert User.objects.count() == (1 if where == "effect-after-commit" else 0)
    assert len(ledger()) == User.objects.count()
    assert execute(job, None, take_over(first)) == Effect.objects.get().key
    assert User.objects.count() == 1
    assert ledger() == [("publish", "done", 1)]


def test_p4_an_exception_out_of_the_body_leaves_nothing() -> None:
    def body(name: str) -> None:
        create(name)
        raise LookupError(name)

    with pytest.raises(LookupError):
        execute(job_of(body), "ada", claim())
    assert not User.objects.exists()
    assert ledger() == []


def test_p2_an_attempt_that_was_taken_over_in_its_body_commits_nothing() -> None:
    first = claim()

    def body(name: str) -> None:
        create(name)
        with connect("default") as other:
            other.execute("UPDATE holdfast_run SET token = gen_random_uuid() WHERE id = %s", [first.run_id])

    with pytest.raises(LeaseLostError):
        execute(job_of(body), "ada", first)
    assert not User.objects.exists()
    assert ledger() == []


def test_r11_a_process_frozen_in_the_body_holds_up_no_take_over() -> None:
    first = claim()

    def body(name: str) -> None:
        create(name)
        with connect("default") as other:
            other.execute("SET lock_timeout = '1s'")
            other.execute("UPDATE holdfast_run SET renewed_at = now() WHERE id = %s", [first.run_id])
            other.execute("UPDATE holdfast_run SET token = gen_random_uuid() WHERE id = %s", [first.run_id])

    with pytest.raises(LeaseLostError):
        execute(job_of(body), "ada", first)


def test_r3_a_connection_that_dies_before_the_commit_is_not_the_nodes_error() -> None:
    bodies: list[str] = []

    def body(name: str) -> str:
        bodies.append(name)
        key = create(name)
        if len(bodies) == 1:
            with connect("default") as other:
                pid = connection.connection.info.backend_pid
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        return key

    assert execute(job_of(body), "ada", claim()) == Effect.objects.get().key
    assert bodies == ["ada", "ada"]
    assert User.objects.count() == 1


def test_r3_a_commit_whose_answer_was_lost_is_found_in_the_ledger() -> None:
    bodies: list[str] = []

    def body(name: str) -> str:
        bodies.append(name)
        wrapper = connections["default"]  # this thread's own
        commit = wrapper._commit

        def lost() -> None:
            commit()
            wrapper.connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        wrapper._commit = lost
        return create(name)

    assert execute(job_of(body), "ada", claim()) == Effect.objects.get().key
    assert bodies == ["ada"]
    assert User.objects.count() == 1


def test_r3_a_body_that_idles_too_long_fails_and_the_error_names_the_setting(settings: Any) -> None:
    settings.HOLDFAST = {"IDLE_IN_TRANSACTION": 0.2}
    bodies: list[str] = []

    def body(name: str) -> None:
        bodies.append(name)
        create(name)
        with connect("default") as other:
            pid, deadline = connection.connection.info.backend_pid, time.monotonic() + 20
            alive = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
            while other.execute(alive, [pid]).fetchone():
                assert time.monotonic() < deadline

    with pytest.raises(IdleInTransactionError) as caught:
        execute(job_of(body), "ada", claim())
    assert caught.value.setting == "IDLE_IN_TRANSACTION"
    assert "0.2 s" in caught.value.message
    assert bodies == ["ada"]
    assert not User.objects.exists()


def test_r19_inside_another_transaction_it_is_refused() -> None:
    def body(name: str) -> Any:
        raise AssertionError("must not begin")

    @task(effect="transactional", name="outer")
    def outer(name: str) -> Any:
        return innermost(name).result()

    @task(effect="transactional", name="innermost")
    def innermost(name: str) -> Any:
        return body(name)

    @entrypoint()
    def job(name: str) -> Any:
        return outer(name).result()

    # The body runs in a thread of its own, which is why the marker travels with the context.
    from holdfast.runner.effects import transaction as module
    from holdfast.runner.effects.identity import executing

    with transaction.atomic():
        with pytest.raises(EffectRefusedError, match="open already"):
            module._refuse_if_nested(connection, _Site())
    with executing(_effect()), pytest.raises(EffectRefusedError, match="outer"):
        module._refuse_if_nested(connection, _Site())
    with pytest.raises(EffectRefusedError, match="innermost"):
        execute(job, "ada", claim())
    assert ledger() == []


class _Site:
    class call:
        function = "publish"


def _effect() -> Any:
    from holdfast.runner.effects import CurrentEffect

    return CurrentEffect(key="k", function="outer", kind="transactional", attempt=1, task_id="t")


def test_r19_an_async_body_is_refused_at_definition() -> None:
    async def body() -> None: ...

    with pytest.raises(EffectRefusedError, match="sync bodies"):
        task(effect="transactional")(body)


@pytest.mark.parametrize("statement", ["effect_begin", "effect_finish", "effect_doubt", "effect_record"])
def test_p2_statement_by_statement_a_take_over_in_flight_wins(statement: str) -> None:
    """Two connections: the taker has changed the token and not yet committed; the stale one waits, then writes nothing."""
    attempt = claim()
    call = effects.Call(
        key="k" * 64,
        thread_id=attempt.thread_id,
        task_id="t",
        function="f",
        call=0,
        kind="keyed",
        arguments_hash="",
        arguments="",
    )
    if statement in {"effect_finish", "effect_doubt"}:
        assert effects.begin("default", attempt.fence, call) == 1
    before = list(Effect.objects.values())
    params = {
        **attempt.fence.params,
        **{name: getattr(call, name) for name in call.__slots__},
        "result_type": "null",
        "result": None,
        "error": "",
        "answers": 0,
    }
    with connect("default") as taker, connect("default", autocommit=True) as stale, connect("default") as eye:
        with taker.transaction():
            taker.execute("UPDATE holdfast_run SET token = gen_random_uuid() WHERE id = %s", [attempt.run_id])
            done: list[Any] = []
            writer = threading.Thread(
                target=lambda: done.append(stale.execute(query(statement), params).fetchone())
            )
            writer.start()
            waiting = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
            deadline = time.monotonic() + 20
            while not eye.execute(waiting, [stale.info.backend_pid]).fetchone():
                assert time.monotonic() < deadline
            assert not done
        writer.join(20)
    assert done[0][0] == 0
    assert list(Effect.objects.values()) == before
    assert RunRow.objects.get().token != attempt.fence.token


def test_p2_a_take_over_waits_for_an_effect_that_is_being_recorded_and_then_sees_it() -> None:
    attempt = claim()
    job, recorded, over = job_of(create), threading.Event(), threading.Event()
    first = effects.record_in_transaction

    def pause(*args: Any) -> bool:
        try:
            return first(*args)
        finally:
            recorded.set()
            over.wait(20)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effects, "record_in_transaction", pause)
        ends: list[BaseException] = []

        def run() -> None:
            try:
                execute(job, "ada", attempt)
            except LeaseLostError as error:  # its next checkpoint is refused
                ends.append(error)

        executor = threading.Thread(target=run)
        executor.start()
        assert recorded.wait(20)
        with connect("default") as taker, connect("default") as eye:
            take = "UPDATE holdfast_run SET token = gen_random_uuid() WHERE id = %s"
            # A renewal, which leaves the token alone, does not wait (R2).
            taker.execute("SET lock_timeout = '5s'")
            taker.execute("UPDATE holdfast_run SET renewed_at = now() WHERE id = %s", [attempt.run_id])
            taking = threading.Thread(target=lambda: taker.execute(take, [attempt.run_id]))
            taking.start()
            waiting = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
            deadline = time.monotonic() + 4
            while not eye.execute(waiting, [taker.info.backend_pid]).fetchone():
                assert time.monotonic() < deadline
            over.set()
            taking.join(20)
        executor.join(20)
    assert len(ends) <= 1  # the graph may be through before the take-over has its lock
    assert ledger() == [("publish", "done", 1)]
    assert User.objects.count() == 1


def test_outside_a_run_a_transactional_body_opens_no_transaction() -> None:
    def body(name: str) -> bool:
        try:
            return connection.in_atomic_block
        finally:
            connection.close()

    assert job_of(body).invoke("ada") is False
    assert ledger() == []
