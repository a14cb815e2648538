"""R3: the connection dies between a commit and its answer, and what happened still happened once.

A proxy before PostgreSQL takes the answer away, so that the statement has been committed and nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

import holdfast
from holdfast.persistence.models import RunRow, Step
from holdfast.persistence.records import Run
from holdfast.runner.signals import run_settled
from holdfast.testing import run_now
from tests.acceptance.databases import django_uses
from tests.acceptance.journal.pages import Log, notes, page
from tests.acceptance.proxies import Proxy
from tests.acceptance.workers import Stage


@pytest.fixture
def proxy(stage: Stage) -> Iterator[Proxy]:
    """Between this process and its database."""
    with Proxy(stage.database.host, int(stage.database.port)) as proxy:
        with django_uses(replace(stage.database, host="127.0.0.1", port=str(proxy.port))):
            yield proxy


STATEMENTS = {
    "claim": (b"status = 'running', token = ", b"UPDATE 1\0"),
    "first checkpoint": (b"INSERT INTO checkpoints", b"SELECT 1\0"),
    "settle": (b"holds_thread = NOT ", b"SELECT 1\0"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_r3_a_commit_whose_answer_is_lost_has_happened_once(stage: Stage, proxy: Proxy, name: str) -> None:
    log = Log(stage.directory)
    run_now(holdfast.enqueue("journal", page("earlier"), thread_id="t"))
    run = holdfast.enqueue("journal", page("a", log=str(log)), thread_id="t")
    from holdfast.persistence.connections import close_pools

    close_pools()  # a new connection sends each statement's text once more, for the proxy to see
    cut = proxy.cut(*STATEMENTS[name])
    ended = run_now(run)
    assert (cut.heard, cut.done) == (True, True), "the answer was taken away"
    assert ended.status == "succeeded", ended.error
    assert ended.result["notes"] == notes("earlier") + notes("a")
    assert log.counts() == {"a.0": 1, "a.1": 1}
    assert (ended.deliveries, ended.crashes) == (1, 0)
    assert RunRow.objects.get(id=run.id).settled_by is not None


def test_r3_a_settle_with_listeners_whose_commit_got_no_answer_is_told_once(
    stage: Stage, proxy: Proxy
) -> None:
    """What a listener writes is part of the commit: it is there once, and so is the run's end."""

    def write(run: Run, **_: object) -> None:
        Step.objects.create(
            run_id=run.id,
            delivery=99,
            step=0,
            node="told",
            task_id="told",
            owner="listener",
            started_at=run.created_at,
            outcome=run.status,
        )

    run = holdfast.enqueue("journal", page("a"))
    run_settled.connect(write, sender=Run)
    try:
        cut = proxy.cut(b"COMMIT", b"COMMIT\0")
        ended = run_now(run)
    finally:
        run_settled.disconnect(write, sender=Run)
    assert cut.done, "the answer was taken away"
    assert (ended.status, ended.result["notes"]) == ("succeeded", notes("a"))
    assert Step.objects.filter(node="told").count() == 1
