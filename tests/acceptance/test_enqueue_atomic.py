"""P1, R17: a run is enqueued with the caller's transaction or not at all, and none is lost after the commit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections, transaction

import holdfast
from holdfast.errors import TransactionError
from holdfast.persistence.models import RunRow, Thread
from tests.acceptance.brokers import Broker, every_broker
from tests.acceptance.journal.pages import notes, page
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage


class RolledBackError(Exception):
    """The view fails after it has enqueued."""


@transaction.atomic
def failing_view() -> None:
    """Enqueues beside rows of its own, and then fails."""
    holdfast.enqueue("journal", page("gone"), thread_id="t")
    with transaction.atomic():
        holdfast.enqueue_many([{"graph": "journal", "input": page(str(i))} for i in range(3)])
    raise RolledBackError


@every_broker
def test_p1_a_rolled_back_transaction_leaves_neither_run_nor_message(stage: Stage, broker: Broker) -> None:
    with pytest.raises(RolledBackError):
        failing_view()
    assert not RunRow.objects.exists()
    assert not Thread.objects.exists()
    assert broker.messages() == 0
    with transaction.atomic():
        kept = holdfast.enqueue("journal", page("kept"))
        with pytest.raises(RolledBackError):  # a savepoint
            failing_view()
        assert broker.messages() == 0, "nothing rings before the commit"
    assert list(RunRow.objects.values_list("id", flat=True)) == [kept.id]
    until(lambda: broker.messages() == 1, 30, "the bell of the run that was kept waits")


@pytest.mark.parametrize("more", ["", ", idempotency_key='k'"], ids=["alone", "keyed"])  # two ways in
def test_p1_a_process_that_dies_around_its_commit_loses_what_was_committed_and_nothing_else(
    more: str, stage: Stage, broker: Broker
) -> None:
    code = (
        "import holdfast\n"
        "from tests.acceptance.journal.pages import page\n"
        f"holdfast.enqueue('journal', page({{name!r}}){more})\n"
        "raise SystemExit('it lives')\n"
    )
    before = stage.script(code.format(name="before"), faults="enqueue-before-commit=kill")
    after = stage.script(code.format(name="after"), faults="enqueue-after-commit=kill")
    assert (before.returncode, after.returncode) == (-9, -9), before.stderr + after.stderr
    # On a broker in the same database the message commits with the run; on another it was not sent.
    assert broker.messages() == (1 if broker.url == "holdfast://default" else 0)
    broker.lose_everything()
    run_id = RunRow.objects.get().id
    stage.worker(holdfast={"BELL_IDLE": 0.5})
    ended = holdfast.wait(run_id, timeout=60)
    assert ended.status == "succeeded"
    assert ended.result["notes"] == notes("after")


@pytest.fixture
def other(stage: Stage) -> Iterator[str]:
    """A second alias of Django's, on the same server."""
    connections.settings["other"] = {**connections.settings["default"], "NAME": "postgres"}
    try:
        yield "other"
    finally:
        connections["other"].close()
        del connections["other"]
        del connections.settings["other"]


def test_r17_enqueue_inside_another_databases_transaction_only_is_refused(other: str, broker: Broker) -> None:
    with transaction.atomic(using=other):
        with pytest.raises(TransactionError, match=r"atomic\(using='default'\)") as refused:
            holdfast.enqueue("journal", page("a"))
        assert refused.value.alias == other
    assert not RunRow.objects.exists()
    assert broker.messages() == 0
    with transaction.atomic(using=other), transaction.atomic():
        run = holdfast.enqueue("journal", page("b"))
    with transaction.atomic(using=other):
        connections[other].ensure_connection()
    holdfast.enqueue("journal", page("c"))  # an open connection alone is no transaction
    assert RunRow.objects.filter(id=run.id).exists()
    assert broker.messages() == 2
