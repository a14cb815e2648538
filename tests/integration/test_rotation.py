"""``rotate-keys``: whatever is stored comes under the active key, beside runs that go on, and can be stopped at any moment."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any, TypedDict

import pytest
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, interrupt
from psycopg.rows import dict_row

import holdfast
from holdfast.persistence import DjangoSaver, DjangoStore, rotation
from holdfast.persistence.connections import connect
from holdfast.persistence.models import RunRow
from holdfast.persistence.records import Run
from holdfast.testing import run_now
from tests.extras import extra
from tests.integration.claims import chain, config_for
from tests.integration.encrypting import encryption, in_the_clear, sealed_under

extra("cryptography")

pytestmark = pytest.mark.django_db(transaction=True)

WORD = "Rambutan"


class State(TypedDict, total=False):
    wish: str
    number: int
    yes: bool
    told: str
    answer: str


@holdfast.task
def look_up(text: str) -> str:
    return f"looked up {text}"


@holdfast.task(effect="at_most_once")
def send(text: str) -> str:
    raise RuntimeError(f"cannot send {text}")


@pytest.fixture
def graph() -> str:
    name = f"rotated-{uuid.uuid4().hex}"
    builder = StateGraph(State)
    builder.add_node(
        "first",
        lambda state: {"number": 471_147_114_711, "yes": True, "told": WORD},
        cache_policy=CachePolicy(),
    )
    builder.add_node("second", lambda state: {"told": look_up(state["wish"]).result()})
    builder.add_node("third", lambda state: {"answer": interrupt({"ask": f"is {WORD} right?"})})
    builder.add_node("fourth", lambda state: {"told": send(state["answer"]).result()})
    for before, after in zip(
        (START, "first", "second", "third", "fourth"),
        ("first", "second", "third", "fourth", END),
        strict=True,
    ):
        builder.add_edge(before, after)
    holdfast.register(name, version="1")(lambda: builder)
    return name


def filled(graph: str) -> tuple[Run, Run]:
    """A run that asks, one whose effect is in doubt, and an item: every column that can be encrypted."""
    config = {"configurable": {"customer": WORD}, "metadata": {"about": WORD}}
    asking = run_now(holdfast.enqueue(graph, {"wish": WORD}, config=config, idempotency_key=f"key-{graph}"))
    doubting = run_now(holdfast.enqueue(graph, {"wish": WORD}, config=config, context={"who": WORD}))
    doubting = run_now(holdfast.resume(doubting.id, WORD))
    assert WORD in doubting.questions[0].value["why"]
    failing = run_now(holdfast.enqueue(graph, {"told": WORD}))
    assert failing.status == "failed"
    DjangoStore().put(("a",), "x", {"fruit": WORD})
    return asking, doubting


def values(run: Run) -> Any:
    return holdfast.state(run.thread_id).values


def test_all_that_is_stored_comes_under_the_active_key_and_out_again(graph: str, settings: Any) -> None:
    settings.HOLDFAST = {}
    asking, doubting = filled(graph)
    before = values(asking), values(doubting)
    assert set(in_the_clear(WORD)) == {
        *("checkpoint_blobs", "checkpoint_writes", "checkpoints", "store"),
        *("holdfast_effect", "holdfast_node_cache", "holdfast_run"),
    }
    for active in ("a", "b"):
        settings.HOLDFAST = encryption(active)
        report = rotation.rotate(batch=3)
        assert (report.failed, report.busy, report.done) == (0, 0, report.total)
        assert in_the_clear(WORD) == {}
        assert in_the_clear("471147114711") == {}
        assert set(sealed_under()) == {active}
        assert {held.key for held in rotation.census()} == {active}
        assert rotation.rotate().total == 0
        settings.HOLDFAST = encryption(active, active)  # the key before is needed no longer
        assert (values(asking), values(doubting)) == before
        assert holdfast.get(asking.id).questions[0].value == {"ask": f"is {WORD} right?"}
        assert DjangoStore().search(("a",), filter={"fruit": WORD})[0].key == "x"
    settings.HOLDFAST = encryption(None)
    report = rotation.rotate()
    assert (report.failed, report.done) == (0, report.total)
    assert sealed_under() == {}
    settings.HOLDFAST = {}
    assert (values(asking), values(doubting)) == before
    again = holdfast.enqueue(
        graph,
        {"wish": WORD},
        config={"configurable": {"customer": WORD}, "metadata": {"about": WORD}},
        idempotency_key=f"key-{graph}",
    )
    assert again.id == asking.id


def test_what_began_under_a_key_ends_after_all_was_brought_into_the_clear(graph: str, settings: Any) -> None:
    settings.HOLDFAST = encryption("a")
    asking, doubting = filled(graph)
    settings.HOLDFAST = encryption(None)
    rotation.rotate()
    settings.HOLDFAST = {}
    ended = run_now(holdfast.resume(doubting.id, {"happened": True, "result": f"sent {WORD}"}))
    assert (ended.status, ended.result["told"]) == ("succeeded", f"sent {WORD}")
    asked = run_now(holdfast.resume(asking.id, "no"))  # the effect before is recognised by its keyed hash
    assert asked.questions[0].value["attempts"] == 1
    key = f"key-{graph}"
    config = {"configurable": {"customer": WORD}, "metadata": {"about": WORD}}
    assert holdfast.enqueue(graph, {"wish": WORD}, config=config, idempotency_key=key).id == asking.id


def test_stock_langgraph_goes_on_from_what_was_brought_into_the_clear(settings: Any) -> None:
    settings.HOLDFAST = encryption("a")
    config = config_for(str(uuid.uuid4()))
    chain(2).compile(checkpointer=DjangoSaver()).invoke({"items": [WORD]}, config)
    settings.HOLDFAST = encryption(None)
    rotation.rotate()
    with connect("default", row_factory=dict_row) as stock:
        result = chain(2).compile(checkpointer=PostgresSaver(stock)).invoke({"items": ["x"]}, config)
    assert result == {"items": [WORD, "n0", "n1", "x", "n0", "n1"], "count": 4}


def test_what_stock_langgraph_stored_is_encrypted_with_its_plain_values(settings: Any) -> None:
    settings.HOLDFAST = {}
    config = config_for(str(uuid.uuid4()))
    with connect("default", row_factory=dict_row) as stock:
        chain(2).compile(checkpointer=PostgresSaver(stock)).invoke(
            {"items": [WORD], "count": 471_147_114_711}, config
        )
    history = [
        found.values for found in chain(2).compile(checkpointer=DjangoSaver()).get_state_history(config)
    ]
    settings.HOLDFAST = encryption("a")
    report = rotation.rotate()
    assert (report.failed, report.done) == (0, report.total)
    assert in_the_clear(WORD) == in_the_clear("471147114711") == {}
    settings.HOLDFAST = encryption("a", "a")
    graph = chain(2).compile(checkpointer=DjangoSaver())
    assert [found.values for found in graph.get_state_history(config)] == history


def test_a_row_that_somebody_has_is_passed_over_and_found_next_time(
    graph: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HOLDFAST = {}
    asking, _ = filled(graph)
    settings.HOLDFAST = encryption("a")
    monkeypatch.setattr(rotation, "PAUSE", 0.01)
    with connect("default", autocommit=False) as other:
        other.execute("SELECT FROM holdfast_run WHERE id = %s FOR UPDATE", [asking.id])
        report = rotation.rotate()
        assert (report.busy, report.done) == (1, report.total - 1)
        other.rollback()
    report = rotation.rotate()
    assert (report.total, report.done, report.busy) == (1, 1, 0)


def test_a_value_without_its_key_is_told_and_left_and_keeps_no_other_back(graph: str, settings: Any) -> None:
    settings.HOLDFAST = encryption("a")
    DjangoStore().put(("a",), "x", {"fruit": WORD})
    settings.HOLDFAST = encryption("c")
    DjangoStore().put(("a",), "y", {"fruit": WORD})
    settings.HOLDFAST = encryption("b", "b", "c")
    report = rotation.rotate()
    assert (report.total, report.done, report.failed) == (2, 1, 1)
    (failure,) = report.failures
    assert (failure.table, failure.row) == ("store", "a x")
    assert "'a'" in failure.reason
    assert sealed_under() == {"a": 1, "b": 1}


def test_a_rotation_that_is_stopped_anywhere_is_continued(graph: str, settings: Any) -> None:
    settings.HOLDFAST = {}
    asking, _ = filled(graph)
    before = values(asking)
    settings.HOLDFAST = encryption("a")
    rounds = 0
    while True:
        seen = 0

        def stop(report: rotation.Report) -> None:
            nonlocal seen
            seen += 1
            if seen == 4:
                raise KeyboardInterrupt

        try:
            report = rotation.rotate(batch=2, progress=stop)
        except KeyboardInterrupt:
            rounds += 1
            assert values(asking) == before
        else:
            break
    assert rounds > 3
    assert (report.failed, report.busy) == (0, 0)
    assert in_the_clear(WORD) == {}


def test_rotations_beside_each_other_and_beside_writers_lose_nothing(settings: Any) -> None:
    """Threads go on under the new key, and one older worker under the old one, while two rotations are at work."""
    settings.HOLDFAST = encryption("a")
    configs = [config_for(str(uuid.uuid4())) for _ in range(4)]
    for config in configs:
        chain(3).compile(checkpointer=DjangoSaver()).invoke({"items": [WORD], "count": 0}, config)
    older = DjangoSaver()  # keeps the keyring that it was made with
    settings.HOLDFAST = encryption("b")
    errors: list[BaseException] = []
    stop = threading.Event()
    turns = dict.fromkeys(range(4), 0)

    def write(number: int) -> None:
        try:
            graph = chain(3).compile(checkpointer=older if number == 0 else DjangoSaver())
            while not stop.is_set():
                graph.invoke({"items": ["x"], "count": 0}, configs[number], durability="sync")
                turns[number] += 1
        except BaseException as error:  # told by the test's own thread
            errors.append(error)

    def rotate() -> None:
        try:
            while not stop.is_set():
                rotation.rotate(batch=7)
        except BaseException as error:  # told by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in turns]
    threads += [threading.Thread(target=rotate) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(4)  # how long they disturb each other
    stop.set()
    for thread in threads:
        thread.join(60)
    assert errors == []
    report = rotation.rotate()
    assert (report.failed, report.busy) == (0, 0)
    assert set(sealed_under()) == {"b"}
    settings.HOLDFAST = encryption("b", "b")
    for number, config in enumerate(configs):
        state = chain(3).compile(checkpointer=DjangoSaver()).get_state(config).values
        assert state["items"] == [WORD, "n0", "n1", "n2"] + ["x", "n0", "n1", "n2"] * turns[number]
    assert min(turns.values()) > 1


def test_a_runs_lease_and_times_are_not_touched(graph: str, settings: Any) -> None:
    settings.HOLDFAST = {}
    asking, _ = filled(graph)
    columns = [field.attname for field in RunRow._meta.concrete_fields]
    kept = [
        name
        for name in columns
        if name not in {"input", "context", "result", "answers", "config", "error", "questions"}
        and not name.endswith("_type")
    ]
    before = RunRow.objects.filter(id=asking.id).values(*kept).get()
    settings.HOLDFAST = encryption("a")
    rotation.rotate()
    assert RunRow.objects.filter(id=asking.id).values(*kept).get() == before
