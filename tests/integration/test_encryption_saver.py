"""Checkpoints encrypted at rest: nothing of a state in the clear, and nothing lost on the way in or out."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import pytest
from django.db import connection
from langgraph.channels import DeltaChannel
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from holdfast.errors import DecryptionError, InvalidInputError
from holdfast.persistence import DjangoSaver
from tests.extras import extra
from tests.integration.claims import a_checkpoint, chain, claim, config_for

extra("cryptography")

pytestmark = pytest.mark.django_db(transaction=True)

MARK = "Kumquat"
KEYS = {name: base64.b64encode(bytes([number]) * 32).decode() for number, name in enumerate(("a", "b"))}

Keys = Callable[..., None]


def joined(before: list[str], updates: list[list[str]]) -> list[str]:
    return [*before, *(item for update in updates for item in update)]


class Delta(TypedDict):
    items: Annotated[list[str], DeltaChannel(joined, snapshot_frequency=50)]


@pytest.fixture
def keys(settings: Any) -> Keys:
    """Sets the active key, with all of them known unless said otherwise."""

    def put(active: str | None, *known: str) -> None:
        found = {name: KEYS[name] for name in known or KEYS}
        settings.HOLDFAST = {"ENCRYPTION": {"keys": found, "active": active}}

    return put


def stored(thread_id: str) -> str:
    """Everything that the checkpoint tables hold of the thread, as text and as the text behind the bytes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT string_agg(t, ' ') FROM ("
            " SELECT c::text AS t FROM checkpoints c WHERE thread_id = %(id)s"
            " UNION ALL SELECT b.type || encode(b.blob, 'escape') FROM checkpoint_blobs b WHERE thread_id = %(id)s"
            " UNION ALL SELECT w.type || encode(w.blob, 'escape') FROM checkpoint_writes w WHERE thread_id = %(id)s) x",
            {"id": thread_id},
        )
        return str(cursor.fetchone()[0])


def state(saver: DjangoSaver, thread_id: str) -> Any:
    found = saver.get_tuple(config_for(thread_id))
    assert found is not None
    return found.checkpoint["channel_values"]


VALUES: dict[str, Any] = {
    "text": f"{MARK} inline",
    "number": 471147114711,
    "yes": True,
    "nothing": None,
    "list": [MARK, {"deep": MARK}],
    "raw": MARK.encode(),
}


def test_nothing_of_a_state_stands_in_the_clear(keys: Keys) -> None:
    keys("a")
    saver, thread_id = DjangoSaver(), str(uuid4())
    checkpoint, versions = a_checkpoint(saver, **VALUES)
    config = {**config_for(thread_id), "metadata": {"customer": MARK, "run_id": "r1"}}
    written = saver.put(config, checkpoint, {"source": "loop", "step": 3, "note": MARK}, versions)
    saver.put_writes(written, [("list", MARK), ("text", MARK), ("number", 471147114711)], "task")
    everything = stored(thread_id)
    assert MARK not in everything
    assert "471147114711" not in everything
    assert everything.count("+xaes256gcm:a") == len(VALUES) + 3 + 1
    found = saver.get_tuple(config_for(thread_id))
    assert found is not None
    assert found.checkpoint["channel_values"] == VALUES
    assert found.metadata == {"source": "loop", "step": 3, "note": MARK, "customer": MARK, "run_id": "r1"}
    assert [write[1:] for write in found.pending_writes or ()] == [
        ("list", MARK),
        ("text", MARK),
        ("number", 471147114711),
    ]


def test_run_id_source_and_step_stay_readable_and_can_be_looked_for(keys: Keys) -> None:
    keys("a")
    saver, thread_id = DjangoSaver(), str(uuid4())
    checkpoint, versions = a_checkpoint(saver, n=1)
    config = {**config_for(thread_id), "metadata": {"run_id": "r1", "customer": MARK}}
    saver.put(config, checkpoint, {"source": "loop", "step": 3}, versions)
    with connection.cursor() as cursor:
        cursor.execute("SELECT metadata FROM checkpoints WHERE thread_id = %s", [thread_id])
        assert '"step": 3' in cursor.fetchone()[0]
    assert len(list(saver.list(config_for(thread_id), filter={"source": "loop", "step": 3}))) == 1
    with pytest.raises(InvalidInputError, match="customer"):
        list(saver.list(config_for(thread_id), filter={"customer": MARK}))


def test_p3_a_thread_goes_on_when_encryption_is_switched_on_and_off(keys: Keys, settings: Any) -> None:
    thread_id = str(uuid4())
    settings.HOLDFAST = {}
    builder, config = chain(2), config_for(thread_id)

    def turn() -> Any:
        graph = builder.compile(checkpointer=DjangoSaver())
        return graph.invoke({"items": ["x"]}, config, durability="sync")

    first = turn()
    for active in ("a", "b", None):
        keys(active)
        saver = DjangoSaver()
        assert state(saver, thread_id)["count"] == first["count"]
        result = turn()
        assert result["items"] == [*first["items"], "x", "n0", "n1"]
        assert result["count"] == first["count"] + 2
        first = result
    keys(None)
    assert len(list(DjangoSaver().list(config))) == 16


def test_a_value_that_has_not_changed_since_there_is_a_key_is_not_lost(keys: Keys, settings: Any) -> None:
    settings.HOLDFAST = {}
    saver, thread_id = DjangoSaver(), str(uuid4())
    checkpoint, versions = a_checkpoint(saver, text=MARK, number=1)
    config = saver.put(config_for(thread_id), checkpoint, {}, versions)
    keys("a")
    saver = DjangoSaver()
    follower, _ = a_checkpoint(saver)
    follower["channel_values"] = {"text": MARK, "number": 2}
    version = saver.get_next_version(versions["number"], None)
    follower["channel_versions"] = {"text": versions["text"], "number": version}
    saver.put(config, follower, {}, {"number": version})
    assert state(saver, thread_id) == {"text": MARK, "number": 2}


def test_questions_and_answers_survive_encryption(keys: Keys) -> None:
    keys("a")
    fence = claim()
    builder = chain(1)
    builder.add_node("ask", lambda state: {"items": [interrupt({"sure": MARK})]})
    builder.add_edge("n0", "ask")
    config = config_for(fence.thread_id)
    graph = builder.compile(checkpointer=DjangoSaver(fence=fence))
    paused = graph.invoke({"items": [], "count": 0}, config, durability="sync")
    assert paused["__interrupt__"][0].value == {"sure": MARK}
    assert MARK not in stored(fence.thread_id)
    result = graph.invoke(Command(resume=f"yes {MARK}"), config, durability="sync")
    assert result["items"] == ["n0", f"yes {MARK}"]
    assert MARK not in stored(fence.thread_id)


def test_a_copied_thread_opens_like_the_one_it_was_copied_from(keys: Keys) -> None:
    keys("a")
    source, target = str(uuid4()), str(uuid4())
    chain(2).compile(checkpointer=DjangoSaver()).invoke({"items": ["x"]}, config_for(source))
    saver = DjangoSaver()
    saver.copy_thread(source, target)
    assert state(saver, target) == state(saver, source)


@pytest.mark.parametrize("what", ["channel", "write", "metadata"])
def test_a_value_that_was_moved_to_another_row_is_refused(keys: Keys, what: str) -> None:
    keys("a")
    saver, thread_id = DjangoSaver(), str(uuid4())
    checkpoint, versions = a_checkpoint(saver, approved=["no"], wish=["yes"])
    config = {**config_for(thread_id), "metadata": {"who": MARK}}
    config = saver.put(config, checkpoint, {}, versions)
    saver.put_writes(config, [("approved", "no"), ("wish", "yes")], "task")
    other, versions = a_checkpoint(saver, x=[1])
    saver.put({**config_for(thread_id), "metadata": {"who": "somebody else"}}, other, {}, versions)
    with connection.cursor() as cursor:
        if what == "metadata":
            cursor.execute(
                "UPDATE checkpoints c SET metadata = o.metadata FROM checkpoints o WHERE c.thread_id = %s"
                " AND o.thread_id = c.thread_id AND o.checkpoint_id <> c.checkpoint_id",
                [thread_id],
            )
        else:
            table = "checkpoint_blobs" if what == "channel" else "checkpoint_writes"
            cursor.execute(
                f"UPDATE {table} t SET blob = o.blob FROM {table} o WHERE t.thread_id = %s"
                " AND o.thread_id = t.thread_id AND t.channel = 'approved' AND o.channel = 'wish'",
                [thread_id],
            )
        assert cursor.rowcount
    with pytest.raises(DecryptionError, match="another place"):
        saver.get_tuple(config)


def test_a_missing_key_is_an_error_that_names_it(keys: Keys) -> None:
    keys("a")
    thread_id = str(uuid4())
    chain(1).compile(checkpointer=DjangoSaver()).invoke({"items": ["x"]}, config_for(thread_id))
    keys("b", "b")
    with pytest.raises(DecryptionError, match=r"'a'.*ENCRYPTION"):
        DjangoSaver().get_tuple(config_for(thread_id))


def test_a_delta_channel_is_rebuilt_from_what_is_encrypted(keys: Keys) -> None:
    keys("a")
    thread_id = str(uuid4())
    builder = StateGraph(Delta)
    builder.add_node("one", lambda state: {"items": [f"after {len(state['items'])}"]})
    builder.add_edge(START, "one")
    graph = builder.compile(checkpointer=DjangoSaver())
    graph.invoke({"items": [MARK]}, config_for(thread_id), durability="sync")
    assert MARK not in stored(thread_id)
    assert graph.get_state(config_for(thread_id)).values["items"] == [MARK, "after 1"]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE checkpoint_writes t SET blob = o.blob FROM checkpoint_writes o WHERE t.thread_id = %s"
            " AND o.thread_id = t.thread_id AND t.channel = 'items' AND o.channel = 'items' AND o.blob <> t.blob",
            [thread_id],
        )
        assert cursor.rowcount
    with pytest.raises(DecryptionError, match="another place"):
        graph.get_state(config_for(thread_id))
