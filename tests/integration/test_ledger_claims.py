"""R4, R5, R20: a claim that waited for its thread's lock sees the run as it is by then, or does not get it.

A claim is one statement, and what it reads is as old as its beginning, but for the row that it changes. Retention,
update_state, fork and rollback hold the thread alone; a claim waits for them, on a second connection here.
"""

from __future__ import annotations

import pytest

import holdfast
from holdfast.persistence import ledger
from holdfast.persistence.ids import new_token
from holdfast.persistence.models import Entry
from holdfast.persistence.records import Claim, Run, Session
from tests.acceptance.journal.pages import page
from tests.integration.lifecycle import bells, while_open

__all__ = ["bells"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("bells", "_patient")]


@pytest.fixture
def _patient(settings: object) -> None:
    settings.HOLDFAST = {"LOCK_TIMEOUT": 30.0}


def claim(run: Run) -> Claim | None:
    session = Session(pid=None, start=None)
    known = [(run.graph, run.version)]
    return ledger.claim(run.id, token=new_token(), owner="t", session=session, alone=False, known=known)


def test_r20_a_claim_waits_for_its_threads_lock_and_gets_the_run_then() -> None:
    run = holdfast.enqueue("journal", page("a"), thread_id="t")
    had = while_open(lambda: ledger.lock_thread(run.thread_id), lambda: claim(run))
    assert had is not None
    assert (had.entered, had.run.deliveries) == (False, 1)


def test_p2_p3_an_attempt_that_came_and_went_meanwhile_is_not_taken_for_the_first() -> None:
    run = holdfast.enqueue("journal", page("a"), thread_id="t")

    def come_and_go() -> None:
        other = claim(run)
        assert other is not None
        Entry.objects.create(
            run_id=run.id, thread_id=run.thread_id, checkpoint_id="c"
        )  # its input is applied
        ledger.hand_over(other)

    had = while_open(lambda: ledger.lock_thread(run.thread_id), lambda: claim(run), meanwhile=come_and_go)
    # It is queued as it was when the claim began, but "not entered" would apply the input a second time.
    assert had is None
    assert (holdfast.get(run.id).status, holdfast.get(run.id).deliveries) == ("queued", 1)
    again = claim(run)
    assert again is not None
    assert (again.entered, again.run.deliveries) == (True, 2)
