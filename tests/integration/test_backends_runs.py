"""What a run may rely on wherever its checkpoints, store and cache are: one contract, on every backend."""

from __future__ import annotations

import pytest

import holdfast
from holdfast.errors import InvalidInputError
from holdfast.persistence.models import Checkpoint
from holdfast.testing import run_now
from tests.acceptance.journal.pages import notes, page
from tests.integration.backend_servers import ELSEWHERE, NAMES, address, on
from tests.integration.lifecycle import notes_of, written

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


@on(*ELSEWHERE)
def test_a_rollback_elsewhere_is_refused_before_anything_happens(address: str) -> None:
    asking = written("a", 2, ask_at=1)
    with pytest.raises(InvalidInputError, match="without rollback"):
        holdfast.cancel(asking.id, rollback=True)
    with pytest.raises(InvalidInputError, match="cannot be deleted"):
        holdfast.enqueue("journal", page("b"), thread_id=asking.thread_id, multitask_strategy="rollback")
    assert holdfast.get(asking.id).status == "interrupted"
