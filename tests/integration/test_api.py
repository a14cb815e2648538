"""P11: what the public functions beside ``enqueue`` refuse; and that each async twin does what its sync one does."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async

import holdfast
from holdfast.errors import HoldfastError, InvalidInputError, ThreadNotFoundError, UnknownGraphError
from holdfast.persistence.models import RunRow
from holdfast.testing import run_now
from tests.acceptance.journal.pages import notes, page
from tests.integration.lifecycle import bells, written

__all__ = ["bells"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("bells")]

WRONG: Any = ["x"]
"""What is no text has no hash, either."""


def _history(limit: Any) -> object:
    return list(holdfast.history("t", limit=limit))


@pytest.mark.parametrize(
    ("error", "says", "ask"),
    [
        (UnknownGraphError, "registered as", lambda: holdfast.enqueue(WRONG, {})),
        (UnknownGraphError, "no version", lambda: holdfast.enqueue("journal", page("a"), version=WRONG)),
        (InvalidInputError, "metadata", lambda: holdfast.enqueue("journal", page("a"), metadata=_deep())),
        (InvalidInputError, "list of requests", lambda: holdfast.enqueue_many(None)),
        (InvalidInputError, "list of requests", lambda: holdfast.enqueue_many({"graph": "journal"})),
        (InvalidInputError, "timeout", lambda: holdfast.wait(_ended(), timeout=-1)),
        (InvalidInputError, "timeout", lambda: holdfast.wait(_ended(), timeout=math.nan)),
        (InvalidInputError, "timeout", lambda: holdfast.wait(_ended(), timeout="soon")),
        (InvalidInputError, "timeout", lambda: holdfast.wait(_ended(), timeout=timedelta(1))),
        (InvalidInputError, "rollback", lambda: holdfast.cancel(_ended(), rollback="no")),
        (ThreadNotFoundError, "no checkpoint 'nope'", lambda: holdfast.state("t", checkpoint_id="nope")),
        (InvalidInputError, "checkpoint id", lambda: holdfast.state("t", checkpoint_id="")),
        (InvalidInputError, "checkpoint id", lambda: holdfast.state("t", checkpoint_id="a\0b")),
        (InvalidInputError, "checkpoint id", lambda: holdfast.state("t", checkpoint_id=5)),
        (InvalidInputError, "limit", lambda: _history(-1)),
        (InvalidInputError, "limit", lambda: _history("all")),
        (ThreadNotFoundError, "no checkpoint 'nope'", lambda: holdfast.fork("t", "nope")),
        (InvalidInputError, "checkpoint id", lambda: holdfast.fork("t", 5)),
        (InvalidInputError, "checkpoint id", lambda: holdfast.fork("t", "\ud800")),
        (InvalidInputError, "checkpoint id", lambda: holdfast.fork("t", "a\0b")),
        (InvalidInputError, "limit", lambda: holdfast.runs(limit=-1)),
        (InvalidInputError, "limit", lambda: holdfast.runs(limit=True)),
        (InvalidInputError, "limit", lambda: holdfast.runs(limit=None)),
        (InvalidInputError, "status is one of queued", lambda: holdfast.runs(status="asleep")),
        (InvalidInputError, "thread id", lambda: holdfast.runs(thread_id="a\0b")),
        (InvalidInputError, "graph", lambda: holdfast.runs(graph="a\0b")),
    ],
)
def test_p11_every_door_is_shut_to_nonsense(
    error: type[HoldfastError], says: str, ask: Callable[[], object]
) -> None:
    written("a", thread="t")
    before = list(RunRow.objects.values())
    with pytest.raises(error, match=says):
        ask()
    assert list(RunRow.objects.values()) == before


def _ended() -> Any:
    return RunRow.objects.values_list("id", flat=True).get()


def _deep() -> dict[str, Any]:
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    return {"a": nested}


def test_each_public_function_has_an_async_twin() -> None:
    public = {name: getattr(holdfast, name) for name in holdfast.__all__}
    functions = {name for name, value in public.items() if inspect.isfunction(value)}
    functions -= {"register", "task", "current_effect", "await_"}
    twins = {name: "await_" if name == "wait" else f"a{name}" for name in functions}
    assert set(twins) >= {"enqueue", "enqueue_many", "get", "wait", "resume", "cancel", "retry"}
    assert set(twins) >= {"history", "state", "update_state", "fork"}
    for name, twin in twins.items():
        assert iscoroutinefunction(public[twin]), name


@pytest.mark.django_db(transaction=True)  # a cancel is applied on commit
def test_each_async_twin_does_what_the_sync_one_does() -> None:
    run_now_ = sync_to_async(run_now)

    async def a_life() -> None:
        run = await holdfast.aenqueue("journal", page("a", ask_at=0), thread_id="t")
        assert (await holdfast.aget(run.id)).status == "queued"
        asking = await run_now_(run)
        assert (await holdfast.await_(run.id, timeout=1)).questions == asking.questions
        assert (await holdfast.aresume(run.id, "yes")).status == "queued"
        assert (await run_now_(run)).result["notes"] == ["a>", "a=yes", "a.1"]
        assert [step.node for step in await holdfast.asteps(run.id)][-1] == "write"
        assert (await holdfast.astate("t")).values["notes"] == ["a>", "a=yes", "a.1"]
        (newest,) = await holdfast.ahistory("t", limit=1)
        await holdfast.aupdate_state("t", {"notes": ["edited"]})
        checkpoint = newest.config["configurable"]["checkpoint_id"]
        assert await holdfast.afork("t", checkpoint, "branch") == "branch"
        assert (await holdfast.astate("branch")).values["notes"] == ["a>", "a=yes", "a.1"]
        later, other = await holdfast.aenqueue_many(
            [{"graph": "journal", "input": page(name), "run_after": 60} for name in ("b", "c")]
        )
        await holdfast.acancel(later.id)
        assert (await holdfast.aget(later.id)).status == "cancelled"
        await holdfast.aretry(later.id)
        assert (await run_now_(later)).result["notes"] == notes("b")
        assert [found.id for found in await holdfast.aruns(status="queued")] == [other.id]
        with pytest.raises(InvalidInputError):
            await holdfast.aget("seven")

    async_to_sync(a_life)()
