"""R8, R10, R11, R14: what a claim, a wish to cancel and a retry must not do, on two connections."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import F

import holdfast
from holdfast.persistence import DjangoSaver, ledger
from holdfast.persistence.connections import connect
from holdfast.persistence.fence import Fence
from holdfast.persistence.ids import new_token
from holdfast.persistence.models import CancelRequest, RunRow
from holdfast.persistence.records import Claim, Run, Session
from holdfast.runner.runs import claim as claim_station
from holdfast.runner.runs.claim import claimed
from holdfast.runner.runs.process import Process
from holdfast.testing import run_now
from tests.acceptance.journal.pages import page
from tests.integration.claims import a_checkpoint, config_for
from tests.integration.lifecycle import bells, written

__all__ = ["bells"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("bells")]

NOBODY = Session(pid=None, start=None)


def claim(run: Run) -> Claim | None:
    known = [(run.graph, run.version)]
    return ledger.claim(run.id, token=new_token(), owner="t", session=NOBODY, alone=False, known=known)


def elsewhere(call: Any) -> Any:
    """What it returns in a session of its own, which must not take long."""

    def there() -> Any:
        try:
            with connections["default"].cursor() as cursor:
                cursor.execute("SET lock_timeout = '5s'")
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(there).result(60)


def test_r8_nothing_is_claimed_without_a_recent_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_station, "PATIENCE", 0.2)
    run = holdfast.enqueue("journal", page("a"))
    process = Process()
    process.beating = True
    process.beaten(NOBODY)
    process.last_beat -= claim_station.BEAT_AGE  # the last beat is a second old
    with claimed(process, run.id) as had:
        assert had is None
    assert (holdfast.get(run.id).status, holdfast.get(run.id).deliveries) == ("queued", 0)
    beat = threading.Timer(0.05, lambda: process.beaten(NOBODY))  # it comes while the bell waits
    beat.start()
    monkeypatch.setattr(claim_station, "PATIENCE", 30.0)
    with claimed(process, run.id) as had:
        assert had is not None


@pytest.mark.parametrize("lock", ["run", "thread"])
def test_r11_a_claim_gives_up_on_a_row_that_somebody_holds(lock: str, settings: Any) -> None:
    settings.HOLDFAST = {"LOCK_TIMEOUT": 0.2}
    run = holdfast.enqueue("journal", page("a"))
    with connect("default") as frozen, frozen.transaction(force_rollback=True):
        held = run.id if lock == "run" else run.thread_id
        frozen.execute(f"SELECT FROM holdfast_{lock} WHERE id = %s FOR UPDATE", [held])
        assert elsewhere(lambda: claim(run)) is None  # in the time that the lock is held
    assert holdfast.get(run.id).deliveries == 0
    assert claim(run) is not None


def test_r11_a_view_that_is_slow_after_it_has_cancelled_a_run_holds_it_up_in_nothing(settings: Any) -> None:
    run = holdfast.enqueue("journal", page("a"))
    had = claim(run)
    assert had is not None

    def live() -> Run | None:
        """All that the run's process does meanwhile: it beats, stores, and settles."""
        beats = ledger.renew([(run.id, had.token)], session=NOBODY, draining=False)
        assert [(beat.held, beat.cancel) for beat in beats] == [(True, False)]
        saver = DjangoSaver(fence=Fence(run.id, had.token, run.thread_id))
        checkpoint, versions = a_checkpoint(saver, notes=["a"])
        saver.put(config_for(run.thread_id), checkpoint, {}, versions)
        ledger.settle(had, holdfast.RunStatus.SUCCEEDED, result=("null", None))
        return holdfast.get(run.id)

    with transaction.atomic():
        holdfast.cancel(run.id)
        ended = elsewhere(live)
    assert ended.status == "succeeded"
    ledger.drop_stale_requests()  # as each sweep does
    assert not CancelRequest.objects.exists()
    assert holdfast.get(run.id).status == "succeeded"


def test_r14_a_retry_forgets_the_wish_to_cancel() -> None:
    """Somebody asked for its end in the moment in which it failed by itself."""
    failed = written("a", fail_unless="/nowhere")
    assert failed.status == "failed"
    CancelRequest.objects.create(
        run_id=failed.id, rollback=True, reason="late", requested_at=failed.created_at
    )
    holdfast.retry(failed.id)
    assert not CancelRequest.objects.exists()
    assert ledger.apply_cancels() == []
    again = run_now(failed)
    assert again.deliveries == 2, "it was claimed again"
    assert again.status == "failed"


def test_r8_a_beat_passes_over_a_run_whose_row_somebody_holds_and_renews_the_others() -> None:
    claims = [claim(holdfast.enqueue("journal", page(name))) for name in ("held", "other")]
    leases = [(had.run.id, had.token) for had in claims if had is not None]
    held, other = (run_id for run_id, _ in leases)

    def renewed() -> dict[Any, Any]:
        return dict(RunRow.objects.values_list("id", "renewed_at"))

    before = renewed()
    with connect("default") as settling, settling.transaction(force_rollback=True):
        settling.execute("SELECT FROM holdfast_run WHERE id = %s FOR UPDATE", [held])
        beats = elsewhere(lambda: ledger.renew(leases, session=NOBODY, draining=False))
        assert {beat.run_id: beat.held for beat in beats} == {held: True, other: True}
        after = renewed()
    assert after[held] == before[held]
    assert after[other] > before[other]


@pytest.mark.parametrize("work", ["cancels", "deadlines", "bells"])
def test_r10_a_sweep_passes_over_a_run_whose_row_somebody_holds_and_serves_the_others(work: str) -> None:
    """Else one process that is frozen with one row would stop all sweeping, everywhere."""
    held, other = (holdfast.enqueue("journal", page(name), deadline=3600).id for name in ("held", "other"))
    sweep: dict[str, Any] = {
        "cancels": lambda: [run.id for run in ledger.apply_cancels()],
        "deadlines": lambda: [run.id for run in ledger.sweep_deadlines()],
        "bells": lambda: [
            bell.run_id
            for bell in ledger.bells(
                queues=["celery"], default_queue="celery", known=[("journal", "1")], idle=True
            )
        ],
    }
    if work == "cancels":
        assert all(ledger.request_cancel(run_id, rollback=False, reason="t") for run_id in (held, other))
    elif work == "deadlines":
        RunRow.objects.update(deadline=F("created_at"))
    else:
        RunRow.objects.update(bell_at=F("created_at"))
    with connect("default") as frozen, frozen.transaction(force_rollback=True):
        frozen.execute("SELECT FROM holdfast_run WHERE id = %s FOR UPDATE", [held])
        assert elsewhere(sweep[work]) == [other]
    assert sweep[work]() == [held]
