"""Two connections, statement by statement: retention beside whatever may come at the same moment (R20)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from holdfast.persistence import DjangoSaver
from holdfast.persistence.connections import Connection, connect
from holdfast.persistence.models import RunRow, Thread
from holdfast.persistence.retention import PruneReport, prune
from holdfast.persistence.retention import pruning as module
from tests.integration.attempts import claim
from tests.integration.threads import DAY, config, counts, graph, keep, run_row, talk

pytestmark = pytest.mark.django_db(transaction=True)

ALL = keep(max_age=DAY, keep_last=1, orphans=True)


def hold(connection: Connection) -> None:
    """What every station that needs the thread "t" does first (R20).

    Again where the row is gone once its lock is free: ON CONFLICT DO NOTHING waits for a deletion in
    flight, but not for a lock that a deletion follows.
    """
    held = None
    while held is None:
        connection.execute("INSERT INTO holdfast_thread VALUES ('t', now()) ON CONFLICT DO NOTHING")
        held = connection.execute("SELECT id FROM holdfast_thread WHERE id = 't' FOR KEY SHARE").fetchone()


@contextmanager
def in_thread(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Runs the work beside the block, and waits for it at its end."""
    results: list[Any] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:  # for the test to look at
            results.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield results
    finally:
        thread.join(30)
        assert not thread.is_alive()


def wait_until_blocked(eye: Connection, pid: int) -> None:
    waits = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
    deadline = time.monotonic() + 20
    while not eye.execute(waits, [pid]).fetchone():
        assert time.monotonic() < deadline


class Paused:
    """Stops prune once, after the named statement of its transaction has been executed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: str) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        paused, original = self, module.Pruning._prune_thread
        look = module.Pruning._look

        def stop() -> None:
            if not paused.reached.is_set():
                paused.reached.set()
                assert paused.go_on.wait(20)

        def after_look(pruning: Any, ids: list[str]) -> Any:
            locked = pruning.connection.info.transaction_status.name == "INTRANS"
            if after == "lock" and locked:
                stop()
            return look(pruning, ids)

        def after_delete(pruning: Any, seen: Any) -> PruneReport:
            report = original(pruning, seen)
            if after == "delete":
                stop()
            return report

        monkeypatch.setattr(module.Pruning, "_look", after_look)
        monkeypatch.setattr(module.Pruning, "_prune_thread", after_delete)


@pytest.mark.parametrize("known", [True, False])
def test_r20_a_thread_that_somebody_holds_is_skipped(at_hours: Any, settings: Any, known: bool) -> None:
    settings.HOLDFAST = {"LOCK_TIMEOUT": 0.1}
    if known:
        Thread.objects.create(id="t", created_at="2020-01-01T00:00Z")
    talk(graph(), "t", 3)
    before = counts()
    at_hours(48)
    with connect("default") as enqueue:
        with enqueue.transaction():
            hold(enqueue)
            with in_thread(lambda: prune(ALL)) as results:
                pass
            assert results == [PruneReport(skipped=1)]
    assert counts() == before


def test_r20_a_run_enqueued_between_candidate_and_lock_saves_its_thread(
    at_hours: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk(graph(), "t", 3)
    before = counts()
    at_hours(48)
    look = module.Pruning._look
    looks: list[int] = []

    def enqueue_after_the_first(pruning: Any, ids: list[str]) -> Any:
        found = look(pruning, ids)
        looks.append(1)
        if len(looks) == 1:
            run_row("t", "queued")
        return found

    monkeypatch.setattr(module.Pruning, "_look", enqueue_after_the_first)
    assert prune(keep(max_age=DAY)) == PruneReport(skipped=1)
    assert counts() == before


@pytest.mark.parametrize("after", ["lock", "delete"])
def test_r20_enqueue_waits_for_a_prune_in_flight_and_then_starts_on_a_clean_thread(
    at_hours: Any,
    monkeypatch: pytest.MonkeyPatch,
    after: str,
) -> None:
    talk(graph(), "t", 3)
    run_row("t", "succeeded", finished_at="2020-01-01T00:00Z")
    at_hours(48)
    pause = Paused(monkeypatch, after)
    with connect("default") as enqueue, connect("default") as eye:
        with in_thread(lambda: prune(keep(max_age=DAY, run_age=DAY))) as results:
            assert pause.reached.wait(20)

            def enqueues() -> None:
                with enqueue.transaction():
                    hold(enqueue)

            with in_thread(enqueues) as held:
                wait_until_blocked(eye, enqueue.info.backend_pid)
                pause.go_on.set()
            assert held == [None]
        assert results[0].threads == 1
    assert Thread.objects.filter(id="t").exists()
    assert set(counts().values()) == {0}


def test_r20_a_checkpoint_in_flight_keeps_the_unchanged_values_of_its_parent(at_hours: Any) -> None:
    """A fenced writer commits a checkpoint that refers to a blob of its parent while prune goes by."""
    at_hours(0)
    attempt = claim("t")
    compiled = graph().copy({"checkpointer": DjangoSaver(fence=attempt.fence)})
    compiled.invoke({"items": [], "big": "unchanged"}, config("t"))
    with connect("default") as writer:
        with writer.transaction():
            # The fence of a writing statement whose commit has not come yet.
            writer.execute("SELECT id FROM holdfast_run WHERE id = %s FOR KEY SHARE", [attempt.run_id])
            writer.execute("""
                INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
                SELECT thread_id, checkpoint_ns, 'ffffffff-ffff-6fff-bfff-ffffffffffff', checkpoint_id, checkpoint, metadata
                FROM checkpoints WHERE thread_id = 't' ORDER BY checkpoint_id DESC LIMIT 1
            """)
            at_hours(48)
            report = prune(ALL)
            assert (report.checkpoints, report.skipped) == (2, 1), (
                "all but the newest that it saw; not the thread"
            )
    with connect("default") as eye:
        lost = eye.execute("""
            SELECT v.key FROM checkpoints c, jsonb_each_text(c.checkpoint -> 'channel_versions') v
            WHERE v.key = 'big' AND NOT (c.checkpoint -> 'channel_values' ? v.key)
              AND NOT EXISTS (SELECT FROM checkpoint_blobs b WHERE b.thread_id = c.thread_id
                  AND b.checkpoint_ns = c.checkpoint_ns AND b.channel = v.key AND b.version = v.value)
        """).fetchall()
    assert lost == []


def test_r20_two_prunes_at_once_share_the_work(
    at_hours: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = graph()
    for i in range(4):
        talk(compiled, f"t{i}", 1)
    at_hours(48)
    pause = Paused(monkeypatch, "delete")
    with in_thread(lambda: prune(ALL)) as first:
        assert pause.reached.wait(20)
        with in_thread(lambda: prune(ALL)) as second:
            pass
        pause.go_on.set()
    assert second[0].threads == 3
    assert first[0].threads == 1
    assert set(counts().values()) == {0}
    assert not Thread.objects.exists()


def test_r20_a_prune_that_is_killed_loses_nothing_but_its_last_thread(
    at_hours: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = graph()
    for i in range(3):
        talk(compiled, f"t{i}", 1)
    whole = counts()
    at_hours(48)
    original = module.Pruning._prune_thread
    calls: list[int] = []

    def die(pruning: Any, look: Any) -> PruneReport:
        report = original(pruning, look)
        calls.append(1)
        if len(calls) == 2:
            pruning.connection.pgconn.finish()
        return report

    with monkeypatch.context() as patch:
        patch.setattr(module.Pruning, "_prune_thread", die)
        with pytest.raises(Exception, match="closed"):
            prune(ALL)
    assert counts()["checkpoints"] == whole["checkpoints"] * 2 // 3
    assert prune(ALL).threads == 2
    assert set(counts().values()) == {0}


def test_p10_of_the_runs_of_a_thread_only_those_that_ended_go(at_hours: Any) -> None:
    run_row("t", "succeeded")
    queued = run_row("t", "queued")
    at_hours(10000)
    assert prune(keep(run_age=0, max_age=0)) == PruneReport(runs=1)
    assert [run.id for run in RunRow.objects.all()] == [queued.id]
