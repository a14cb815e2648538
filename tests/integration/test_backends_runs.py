"""What a run may rely on wherever its checkpoints, store and cache are: one contract, on every backend."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

import holdfast
from holdfast.conf import Retention
from holdfast.errors import ConfigurationError, InvalidInputError, ThreadBusyError
from holdfast.persistence.backends import close_backends, open_saver
from holdfast.persistence.models import Checkpoint, Effect, RunRow, Thread
from holdfast.persistence.retention import prune
from holdfast.runner.management.doctor.project import backends as examined
from holdfast.testing import run_now
from tests.acceptance.journal.pages import notes, page
from tests.integration.backend_graphs import Point
from tests.integration.backend_servers import ELSEWHERE, NAMES, address, on
from tests.integration.claims import config_for
from tests.integration.encrypting import encryption
from tests.integration.lifecycle import notes_of, written
from tests.integration.threads import DAY

__all__ = ["address"]

pytestmark = pytest.mark.django_db(transaction=True)


@on(*NAMES)
def test_runs_of_a_thread_go_on_from_each_other(address: str) -> None:
    first = written("a", 3)
    written("b", 2, thread=first.thread_id)
    assert notes_of(first.thread_id) == notes("a", 3) + notes("b", 2)
    assert Checkpoint.objects.filter(thread_id=first.thread_id).exists() is (address == "django")


@on(*NAMES)
def test_p13_an_answer_is_applied_once(address: str) -> None:
    asking = written("a", 2, ask_at=1)
    assert (asking.status, asking.questions[0].value) == ("interrupted", {"name": "a"})
    answered = run_now(holdfast.resume(asking.id, "yes"))
    assert (answered.status, answered.result["notes"]) == ("succeeded", ["a>", "a.0", "a=yes"])


@on(*NAMES)
def test_a_fork_begins_where_its_source_was(address: str) -> None:
    source = written("a", 3)
    second = list(holdfast.history(source.thread_id))[1]
    fork = holdfast.fork(source.thread_id, second.config["configurable"]["checkpoint_id"])
    assert holdfast.state(fork).values == second.values
    holdfast.update_state(fork, {"notes": ["by hand"]})
    written("b", 1, thread=fork)
    assert notes_of(fork) == ["a>", "a.0", "a.1", "by hand", "b>", "b.0"]
    assert notes_of(source.thread_id) == notes("a", 3)


@on(*NAMES)
def test_p13_a_run_without_input_goes_on_from_a_fork_and_asks_again(address: str) -> None:
    source = written("a", 2, ask_at=1)
    run_now(holdfast.resume(source.id, "yes"))
    asked = next(s for s in holdfast.history(source.thread_id) if s.interrupts)
    fork = holdfast.fork(source.thread_id, asked.config["configurable"]["checkpoint_id"])
    run = run_now(holdfast.enqueue("journal", None, thread_id=fork))
    assert run.status == "interrupted", run.error
    done = run_now(holdfast.resume(run.id, "no"))
    assert (done.status, done.result["notes"]) == ("succeeded", ["a>", "a.0", "a=no"])
    assert notes_of(source.thread_id) == ["a>", "a.0", "a=yes"]
    with pytest.raises(InvalidInputError, match="nothing comes next"):
        holdfast.enqueue("journal", None, thread_id=fork)


@on(*ELSEWHERE)
def test_a_rollback_elsewhere_is_refused_before_anything_happens(address: str) -> None:
    asking = written("a", 2, ask_at=1)
    with pytest.raises(InvalidInputError, match="without rollback"):
        holdfast.cancel(asking.id, rollback=True)
    with pytest.raises(InvalidInputError, match="cannot be deleted"):
        holdfast.enqueue("journal", page("b"), thread_id=asking.thread_id, multitask_strategy="rollback")
    assert holdfast.get(asking.id).status == "interrupted"


@on(*NAMES)
def test_a_cached_value_is_found_by_the_next_run(address: str, tmp_path: Path) -> None:
    executed = tmp_path / "executed"
    first = run_now(holdfast.enqueue("cached_backend", {"log": str(executed)}))
    second = run_now(holdfast.enqueue("cached_backend", {"log": str(executed)}))
    assert (first.result["found"], second.result["found"]) == (Point(x=1, y=2), Point(x=1, y=2))
    assert executed.read_text() == "once\n"
    assert [step.outcome for step in holdfast.steps(second.id)].count("cached") == 1


@on(*NAMES)
def test_runs_share_the_store(address: str) -> None:
    assert run_now(holdfast.enqueue("storing_backend", {"word": "anchor"})).result["seen"] == []
    assert run_now(holdfast.enqueue("storing_backend", {"word": "rope"})).result["seen"] == ["anchor"]


@on(*NAMES)
def test_async_graphs_run_there_too(address: str) -> None:
    done = run_now(holdfast.enqueue("async_backend", {"notes": ["in"]}))
    assert (done.status, done.result) == ("succeeded", {"notes": ["in", "left", "right", "end"]})
    assert holdfast.state(done.thread_id).values == done.result


@on(*ELSEWHERE)
def test_p11_what_cannot_be_stored_is_refused_with_its_place(address: str) -> None:
    failed = run_now(holdfast.enqueue("unstorable_backend", {"value": None}))
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error["type"] == "holdfast.errors.NotSerializableError"
    at, _, told = failed.error["message"].partition(": ")
    assert at in ("value", 'value["channel_values"]["value"]')
    assert told.startswith("a tests.integration.backend_graphs.Unheard cannot be stored.")


def test_a_thread_that_stands_elsewhere_than_its_graph_says_is_not_begun_anew(
    tmp_path: Path, settings: Any
) -> None:
    here = written("a", 1)
    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": f"sqlite:///{tmp_path}/there.db"}
    there = run_now(holdfast.enqueue("journal", page("b"), thread_id=here.thread_id))
    assert there.error is not None
    assert f"holdfast transfer --from django --to sqlite:///{tmp_path}/there.db" in there.error["message"]
    elsewhere = written("c", 1)
    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": "django"}
    with pytest.raises(ConfigurationError, match="--to django"):
        holdfast.state(elsewhere.thread_id)
    close_backends()


@on(*ELSEWHERE)
def test_p10_retention_deletes_expired_threads_elsewhere_and_no_others(address: str) -> None:
    old = written("a", 2)
    fork = holdfast.fork(old.thread_id, _newest(old.thread_id))
    waiting = written("b", 2, ask_at=1)
    assert prune(Retention(max_age=DAY)).threads == 0
    RunRow.objects.update(finished_at=long_ago(), created_at=long_ago())
    Thread.objects.update(created_at=long_ago())
    assert prune(Retention(max_age=DAY), dry_run=True).threads == 2
    assert holdfast.state(fork).values["notes"] == notes("a", 2)
    assert prune(Retention(max_age=DAY)).threads == 2
    saver = open_saver(address)
    assert [*saver.list(config_for(old.thread_id)), *saver.list(config_for(fork))] == []
    assert not Thread.objects.filter(id=fork).exists()
    assert run_now(holdfast.resume(waiting.id, "yes")).result["notes"] == ["b>", "b.0", "b=yes"]


def test_p10_a_thread_in_a_backend_that_nobody_names_any_more_stays(tmp_path: Path, settings: Any) -> None:
    before = settings.HOLDFAST
    settings.HOLDFAST = {**before, "CHECKPOINTER": f"sqlite:///{tmp_path}/there.db"}
    run = written("a", 1)
    RunRow.objects.update(finished_at=long_ago(), created_at=long_ago())
    settings.HOLDFAST = before
    report = prune(Retention(max_age=DAY, run_age=None))
    assert (report.threads, report.skipped) == (0, 1)
    assert Thread.objects.get(id=run.thread_id).backend == f"sqlite:///{tmp_path}/there.db"
    close_backends()


def test_p10_a_backend_that_is_away_keeps_retention_from_nothing_else(tmp_path: Path, settings: Any) -> None:
    before = {**settings.HOLDFAST, "LEASE": 2.0, "IDLE_IN_TRANSACTION": 1.0}
    settings.HOLDFAST = before
    away = "postgresql://postgres@127.0.0.1:9/nothing"
    here = written("a", 1)
    for number in range(3):
        Thread.objects.create(
            id=f"away-{number}", created_at=long_ago(), backend="postgresql://127.0.0.1:9/nothing"
        )
    RunRow.objects.update(finished_at=long_ago(), created_at=long_ago())
    Thread.objects.update(created_at=long_ago())
    Checkpoint.objects.all().delete()
    settings.HOLDFAST = {**before, "CHECKPOINTER": away}
    began = time.monotonic()
    report = prune(Retention(max_age=DAY, run_age=DAY))
    assert time.monotonic() - began < 6  # one patience, not three
    assert (report.runs, report.skipped) == (1, 3)
    assert not RunRow.objects.filter(id=here.id).exists()


def long_ago() -> Any:
    """Later than any policy here keeps."""
    return timezone.now() - timedelta(days=3)


def _newest(thread_id: str) -> str:
    config: Any = holdfast.state(thread_id).config
    return str(config["configurable"]["checkpoint_id"])


@on("sqlite")
def test_the_admin_and_the_doctor_say_where_the_checkpoints_are(address: str, admin_client: Any) -> None:
    run = written("a", 1)
    for model, key in (("runrow", run.id), ("thread", run.thread_id)):
        page_of = admin_client.get(f"/admin/holdfast_persistence/{model}/{key}/change/")
        assert f"in {address}" in page_of.content.decode()
    findings = {each.part: each for each in examined()}
    assert {part: each.verdict for part, each in findings.items()} == {
        "checkpointer": "ok",
        "store": "ok",
        "cache": "ok",
    }
    assert findings["checkpointer"].detail == address


def test_the_doctor_tells_of_a_backend_that_cannot_be_opened(settings: Any, tmp_path: Path) -> None:
    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": f"sqlite:///{tmp_path}/no/folder.db"}
    (finding,) = examined()
    assert (finding.part, finding.verdict) == ("checkpointer", "wrong")
    assert "unable to open database file" in finding.detail


@on(*ELSEWHERE)
def test_r5_a_waiting_run_s_state_is_not_updated_after_what_would_happen_again(address: str) -> None:
    free = run_now(holdfast.enqueue("effects_backend", {"notes": ["free"]}))
    holdfast.update_state(free.thread_id, {"notes": ["by hand"]}, as_node="send")
    assert run_now(free.id).status == "interrupted"
    Effect.objects.create(
        key="k",
        run_id=free.id,
        thread_id=free.thread_id,
        task_id="t",
        function="send",
        call=0,
        kind="at_most_once",
        arguments_hash="",
        state="in_doubt",
        begun_at=timezone.now(),
        token=free.id,
    )
    with pytest.raises(ThreadBusyError, match="has effects"):
        holdfast.update_state(free.thread_id, {"notes": ["again"]}, as_node="send")
    bound = run_now(holdfast.enqueue("effects_backend", {"notes": ["bound"]}))
    assert bound.status == "interrupted"
    with pytest.raises(ThreadBusyError, match="has finished tasks"):
        holdfast.update_state(bound.thread_id, {"notes": ["by hand"]})
    assert run_now(holdfast.resume(bound.id, "yes")).result["notes"] == ["bound", "sent bound", "asked yes"]


@on(*ELSEWHERE)
@pytest.mark.parametrize("key", [None, "a"])
def test_a_channel_of_which_only_the_news_is_stored_is_put_together_again(
    address: str, key: str | None, settings: Any
) -> None:
    if key is not None:
        pytest.importorskip("cryptography")
        settings.HOLDFAST = {**settings.HOLDFAST, **encryption(key), "STORE": "django"}
    names = [f"n{number}" for number in range(5)]
    first = run_now(holdfast.enqueue("delta_backend", {"items": ["in"]}))
    assert (first.error, first.result) == (None, {"items": ["in", *names]})
    second = run_now(holdfast.enqueue("delta_backend", {"items": ["on"]}, thread_id=first.thread_id))
    assert second.result == {"items": ["in", *names, "on", *names]}
    assert holdfast.state(first.thread_id).values == second.result


@on(*ELSEWHERE)
def test_p4_an_effect_before_a_question_happens_once(address: str) -> None:
    """The node runs again with the answer; its effect is in the ledger, which is in Django's database."""
    asking = run_now(holdfast.enqueue("effects_backend", {"notes": ["a"]}))
    assert (asking.status, Effect.objects.count()) == ("interrupted", 1)
    done = run_now(holdfast.resume(asking.id, "yes"))
    assert done.result["notes"] == ["a", "sent a", "asked yes"]
    assert Effect.objects.count() == 1


@on(*ELSEWHERE)
def test_p6_a_second_run_waits_for_the_one_that_holds_the_thread(address: str) -> None:
    waiting = written("a", 2, ask_at=1)
    second = holdfast.enqueue("journal", page("b", 1), thread_id=waiting.thread_id)
    assert run_now(second).status == "queued"
    assert run_now(holdfast.resume(waiting.id, "yes")).status == "succeeded"
    run_now(second)
    assert notes_of(waiting.thread_id) == ["a>", "a.0", "a=yes", *notes("b", 1)]
