"""R5: a thread's state, history, update and fork, retry, and what each of them refuses."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

import holdfast
from holdfast.errors import (
    InvalidInputError,
    RetryRefusedError,
    RunNotWaitingError,
    ThreadBusyError,
    ThreadNotFoundError,
)
from holdfast.persistence.models import Effect, Entry, RunRow, Thread
from holdfast.persistence.records import Bell
from holdfast.testing import run_now
from tests.acceptance.journal.pages import Gate, Log, notes, page
from tests.integration.lifecycle import Committing, bells, notes_of, written

__all__ = ["bells"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("bells")]


def test_state_and_history_are_the_threads_own() -> None:
    written("a", thread="t")
    written("b", thread="t")
    assert holdfast.state("t").values["notes"] == notes("a") + notes("b")
    states = list(holdfast.history("t"))
    lengths = [len(state.values.get("notes", [])) for state in states]
    assert lengths == sorted(lengths, reverse=True)
    assert [len(s.values["notes"]) for s in holdfast.history("t", limit=2)] == lengths[:2]
    third = states[2].config["configurable"]["checkpoint_id"]
    assert holdfast.state("t", checkpoint_id=third).values == states[2].values


def test_update_state_is_seen_by_the_next_run() -> None:
    written("a", thread="t")
    holdfast.update_state("t", {"notes": ["edited"]})
    assert notes_of("t") == [*notes("a"), "edited"]
    written("b", thread="t")
    assert notes_of("t") == [*notes("a"), "edited", *notes("b")]


def test_update_state_through_a_waiting_run_empties_its_questions_and_queues_it(
    bells: list[Bell], django_capture_on_commit_callbacks: Committing
) -> None:
    asking = written("a", ask_at=1)
    question = asking.questions[0].id
    with django_capture_on_commit_callbacks(execute=True):
        holdfast.update_state(asking.thread_id, {"notes": ["edited"]})
    queued = holdfast.get(asking.id)
    assert (queued.status, queued.questions) == ("queued", ())
    assert [(bell.run_id, bell.recovery) for bell in bells] == [(asking.id, True)]
    with pytest.raises(RunNotWaitingError):
        holdfast.resume(asking.id, {question: "to the old question"})
    again = run_now(asking)
    assert again.status == "interrupted", again.error
    holdfast.resume(asking.id, "yes")
    done = run_now(asking)
    assert done.status == "succeeded", done.error
    assert done.result["notes"] == ["a>", "a.0", "edited", "a=yes"]


def test_update_state_is_refused_on_a_thread_that_is_held() -> None:
    waiting = written("a", ask_at=0, thread="t")
    holdfast.resume(waiting.id, "yes")  # queued, and it holds its thread
    before = holdfast.state("t").values
    with pytest.raises(ThreadBusyError, match="is queued") as refused:
        holdfast.update_state("t", {"notes": ["edited"]})
    assert refused.value.run_id == waiting.id
    RunRow.objects.update(status="running")
    with pytest.raises(ThreadBusyError, match="is running"):
        holdfast.update_state("t", {"notes": ["edited"]})
    assert holdfast.state("t").values == before


def test_update_state_that_the_graph_refuses_changes_nothing() -> None:
    waiting = written("a", ask_at=0, thread="t")
    with pytest.raises(InvalidInputError, match="no_such_node"):
        holdfast.update_state("t", {"notes": ["edited"]}, as_node="no_such_node")
    assert holdfast.get(waiting.id) == waiting
    assert notes_of("t") == ["a>"]


def test_update_state_with_a_value_that_the_reducer_cannot_take_names_the_field_and_writes_nothing() -> None:
    waiting = written("a", ask_at=0, thread="t")
    states = len(list(holdfast.history("t")))
    with pytest.raises(InvalidInputError, match="'t': the reducer of 'notes' in graph 'journal'") as refused:
        holdfast.update_state("t", {"notes": 5})
    assert refused.value.field == "values.notes"
    assert isinstance(refused.value.__cause__, TypeError)
    assert holdfast.get(waiting.id) == waiting
    assert (notes_of("t"), len(list(holdfast.history("t")))) == (["a>"], states)


def test_a_fork_goes_on_from_a_copy_and_the_source_stays() -> None:
    run = written("a", steps=3, thread="t")
    states = {len(s.values.get("notes", ())): s for s in holdfast.history("t")}
    chosen = states[2].config["configurable"]["checkpoint_id"]  # after a.0
    branch = holdfast.fork("t", chosen, new_thread_id="branch")
    assert branch == "branch"
    assert notes_of("branch") == ["a>", "a.0"]
    written("b", thread="branch")
    assert notes_of("branch") == ["a>", "a.0", *notes("b")]
    assert notes_of("t") == notes("a", 3)
    assert holdfast.fork("t", chosen) not in {"t", "branch"}
    assert holdfast.get(run.id) == run


def test_a_fork_that_is_refused_makes_no_thread() -> None:
    written("a", thread="t")
    newest = holdfast.state("t").config["configurable"]["checkpoint_id"]
    with pytest.raises(ThreadNotFoundError, match="no checkpoint"):
        holdfast.fork("t", "1", new_thread_id="branch")
    with pytest.raises(InvalidInputError):
        holdfast.fork("t", newest, new_thread_id="")
    assert list(Thread.objects.values_list("id", flat=True)) == ["t"]
    written("other", thread="taken")
    with pytest.raises(ThreadBusyError, match="exists"):
        holdfast.fork("t", newest, new_thread_id="taken")
    assert notes_of("taken") == notes("other")
    waiting = written("b", ask_at=0, thread="t")
    with pytest.raises(ThreadBusyError, match=str(waiting.id)):
        holdfast.fork("t", newest, new_thread_id="branch")


def test_a_failed_run_goes_on_from_its_last_checkpoint_at_retry(tmp_path: Path) -> None:
    needed, log = Gate(tmp_path), Log(tmp_path)
    failed = written("a", steps=3, thread="t", fail_unless=str(needed), log=str(log))
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error["type"] == "RuntimeError"
    needed.open()
    assert holdfast.retry(failed.id).status == "queued"
    done = run_now(failed)
    assert done.status == "succeeded"
    assert done.result["notes"] == notes("a", 3)
    assert log.counts() == {"a.0": 1, "a.1": 1, "a.2": 2}


def test_retry_is_refused_once_a_later_run_has_entered_the_thread(tmp_path: Path) -> None:
    failed = written("a", thread="t", fail_unless=str(Gate(tmp_path)))
    later = written("b", thread="t")
    with pytest.raises(RetryRefusedError, match=r"fork") as refused:
        holdfast.retry(failed.id)
    assert str(later.id) in str(refused.value)
    assert holdfast.get(failed.id) == failed


def test_retry_of_an_entered_run_is_refused_while_another_holds_its_thread(tmp_path: Path) -> None:
    failed = written("a", thread="t", fail_unless=str(Gate(tmp_path)))
    holder = holdfast.enqueue("journal", page("b"), thread_id="t")
    RunRow.objects.filter(id=holder.id).update(holds_thread=True)  # claimed, but not entered so far
    with pytest.raises(RetryRefusedError, match="holds its thread") as refused:
        holdfast.retry(failed.id)
    assert str(holder.id) in str(refused.value)
    assert holdfast.get(failed.id) == failed


def test_a_retried_run_that_has_entered_keeps_others_out_of_its_thread(tmp_path: Path) -> None:
    needed = Gate(tmp_path)
    failed = written("a", thread="t", fail_unless=str(needed))
    following = holdfast.enqueue("journal", page("b"), thread_id="t", priority=9)
    RunRow.objects.filter(id=following.id).update(created_at=failed.created_at - timedelta(days=1))
    needed.open()
    holdfast.retry(failed.id)
    assert run_now(following).status == "queued"
    assert run_now(failed).status == "succeeded"
    assert run_now(following).status == "succeeded"
    assert notes_of("t") == notes("a") + notes("b")


def test_retry_is_refused_once_its_checkpoints_are_gone(tmp_path: Path) -> None:
    failed = written("a", thread="t", fail_unless=str(Gate(tmp_path)))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM checkpoints WHERE thread_id = 't'")
    with pytest.raises(RetryRefusedError, match="deleted"):
        holdfast.retry(failed.id)
    assert holdfast.get(failed.id) == failed


def test_retry_of_a_run_that_never_entered_applies_its_input_once() -> None:
    run = holdfast.enqueue("journal", page("a"), thread_id="t")
    RunRow.objects.filter(id=run.id).update(status="failed")
    written("b", thread="t")
    holdfast.retry(run.id)
    assert run_now(run).status == "succeeded"
    assert notes_of("t") == notes("b") + notes("a")


def test_a_rolled_back_run_can_be_retried_from_its_input(
    django_capture_on_commit_callbacks: Committing,
) -> None:
    written("base", thread="t")
    run = written("a", ask_at=1, thread="t")
    with django_capture_on_commit_callbacks(execute=True):
        holdfast.cancel(run.id, rollback=True)
    assert holdfast.get(run.id).status == "cancelled"
    assert not Entry.objects.filter(run_id=run.id).exists()
    assert notes_of("t") == notes("base")
    holdfast.retry(run.id)
    run_now(run)
    holdfast.resume(run.id, "yes")
    run_now(run)
    assert notes_of("t") == [*notes("base"), "a>", "a.0", "a=yes"]


def test_a_rollback_takes_the_runs_state_updates_with_it(
    django_capture_on_commit_callbacks: Committing,
) -> None:
    written("base", thread="t")
    run = written("a", ask_at=1, thread="t")
    holdfast.update_state("t", {"notes": ["edited"]})
    with django_capture_on_commit_callbacks(execute=True):
        holdfast.cancel(run.id, rollback=True)
    assert notes_of("t") == notes("base")


@pytest.mark.parametrize("state", ["queued", "interrupted"])
def test_a_run_that_nobody_executes_is_cancelled_at_once_and_frees_its_thread(
    state: str, bells: list[Bell], django_capture_on_commit_callbacks: Committing
) -> None:
    run = holdfast.enqueue("journal", page("a", ask_at=0), thread_id="t")
    following = holdfast.enqueue("journal", page("b"), thread_id="t")
    if state == "interrupted":
        run_now(run)
    assert holdfast.get(run.id).status == state
    with django_capture_on_commit_callbacks(execute=True):
        holdfast.cancel(run.id)
    ended = holdfast.get(run.id)
    assert (ended.status, ended.questions) == ("cancelled", ())
    assert [bell.run_id for bell in bells] == [following.id]
    assert run_now(run).status == "cancelled", "a late bell changes nothing"
    assert run_now(following).status == "succeeded"


def test_a_cancelled_run_goes_on_at_retry(django_capture_on_commit_callbacks: Committing) -> None:
    run = written("a", ask_at=1)
    with django_capture_on_commit_callbacks(execute=True):
        holdfast.cancel(run.id)
    holdfast.retry(run.id)
    asking = run_now(run)
    assert asking.status == "interrupted", asking.error
    holdfast.resume(run.id, "yes")
    assert run_now(run).result["notes"] == ["a>", "a.0", "a=yes"]


def test_p4_a_run_rolled_back_after_effects_is_not_retried(
    django_capture_on_commit_callbacks: Committing,
) -> None:
    run = written("a", ask_at=1, thread="t")
    Effect.objects.create(
        key="k",
        run_id=run.id,
        thread_id="t",
        task_id="x",
        function="shop.charge",
        call=0,
        kind="keyed",
        arguments_hash="",
        state="done",
        begun_at=run.created_at,
        token=uuid4(),
    )
    with django_capture_on_commit_callbacks(execute=True):
        holdfast.cancel(run.id, rollback=True)
    with pytest.raises(RetryRefusedError, match="rolled back after effects"):
        holdfast.retry(run.id)
    assert holdfast.get(run.id).status == "cancelled"


@pytest.mark.parametrize(("under_newest", "hours"), [(True, -1), (False, 1), (None, 1)])
def test_p4_an_update_is_refused_by_the_checkpoint_of_an_effect_not_by_a_clock(
    under_newest: bool | None, hours: int
) -> None:
    """Hosts' clocks differ: an effect begun under the newest checkpoint may seem older than it, and the reverse."""
    run = written("a", ask_at=1, thread="t")
    newest, *_, oldest = [
        state.config["configurable"]["checkpoint_id"] for state in holdfast.history(run.thread_id)
    ]
    made_at = timezone.now()
    Effect.objects.create(
        key="k",
        run_id=run.id,
        thread_id="t",
        task_id="x",
        function="shop.charge",
        call=0,
        kind="keyed",
        arguments_hash="",
        state="done",
        begun_at=made_at + timedelta(hours=hours),
        token=uuid4(),
        checkpoint_id={True: newest, False: oldest, None: None}[under_newest],
    )
    if under_newest is False:
        holdfast.update_state("t", {"notes": ["edited"]})
    else:  # a row of before the column was made tells its time only
        with pytest.raises(ThreadBusyError, match="effects"):
            holdfast.update_state("t", {"notes": ["edited"]})


def test_a_run_without_input_goes_on_from_a_fork_as_it_would_have_gone_on_then() -> None:
    written("a", steps=3, thread="t")
    states = {len(s.values.get("notes", ())): s for s in holdfast.history("t")}
    branch = holdfast.fork("t", states[2].config["configurable"]["checkpoint_id"])
    run = run_now(holdfast.enqueue("journal", None, thread_id=branch))
    assert (run.status, run.result["notes"]) == ("succeeded", notes("a", 3))
    assert [step.node for step in holdfast.steps(run.id)] == ["write", "write"]
    with pytest.raises(InvalidInputError, match="nothing comes next"):
        holdfast.enqueue("journal", None, thread_id=branch)
    holdfast.update_state(branch, {"notes": ["edited"], "step": 2}, as_node="write")
    again = run_now(holdfast.enqueue("journal", None, thread_id=branch))
    assert again.result["notes"] == [*notes("a", 3), "edited", "a.2"]


def test_p13_what_a_run_without_input_asks_before_its_first_checkpoint_is_answered_once() -> None:
    asking = written("a", steps=2, ask_at=1, thread="t")
    holdfast.resume(asking.id, "yes")
    run_now(asking)
    states = {len(s.values.get("notes", ())): s for s in holdfast.history("t")}
    branch = holdfast.fork("t", states[2].config["configurable"]["checkpoint_id"])
    run = run_now(holdfast.enqueue("journal", None, thread_id=branch))
    assert run.status == "interrupted"
    holdfast.resume(run.id, "another answer")
    done = run_now(run)
    assert (done.status, done.result["notes"]) == ("succeeded", ["a>", "a.0", "a=another answer"])
    assert notes_of("t") == ["a>", "a.0", "a=yes"]


def test_p11_a_run_without_input_is_refused_where_a_run_of_the_thread_is_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nothing starts from None"):
        holdfast.enqueue("journal", None, thread_id="new")
    with pytest.raises(InvalidInputError, match="nothing starts from None"):
        holdfast.enqueue("journal", None)
    waiting = written("a", ask_at=0, thread="asks")
    with pytest.raises(InvalidInputError, match=f"{waiting.id} stands there and is interrupted; answer it"):
        holdfast.enqueue("journal", None, thread_id="asks")
    failed = written("a", thread="failed", fail_unless=str(tmp_path / "never"))
    with pytest.raises(InvalidInputError, match=f"{failed.id} stands there and is failed; retry it"):
        holdfast.enqueue("journal", None, thread_id="failed")
    assert {run.id for run in holdfast.runs()} == {waiting.id, failed.id}


@pytest.mark.parametrize("checkpoint", ["nope", "", "a\0b", "\x1b[31m", "\ud800", 7])
def test_p11_a_checkpoint_that_is_not_there_is_a_typed_error(checkpoint: Any) -> None:
    written("a", thread="t")
    # What cannot be an id is said to be none; what could be one is looked for.
    error, match = (
        (ThreadNotFoundError, "no checkpoint")
        if checkpoint == "nope"
        else (InvalidInputError, "checkpoint id")
    )
    with pytest.raises(error, match=match):
        holdfast.state("t", checkpoint_id=checkpoint)
    with pytest.raises(error, match=match):
        holdfast.fork("t", checkpoint)
    assert list(Thread.objects.values_list("id", flat=True)) == ["t"]
