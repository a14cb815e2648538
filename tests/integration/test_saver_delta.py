"""DeltaChannels: rebuilt from one query, and never damaged by what deletes checkpoints (P10)."""

from __future__ import annotations

import asyncio
import operator
import random
import threading
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import pytest
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.graph import START, StateGraph
from langgraph.types import Overwrite

from holdfast.persistence import DjangoSaver
from holdfast.persistence.connections import connect
from holdfast.persistence.models import Checkpoint, CheckpointBlob, CheckpointWrite
from holdfast.persistence.saver.statements import Statements
from tests.integration.claims import a_checkpoint, config_for, wait_until_blocked
from tests.integration.encrypting import either_way

__all__ = ["either_way"]

pytestmark = pytest.mark.django_db(transaction=True)


def joined(before: list[int], updates: list[list[int]]) -> list[int]:
    return [*before, *(number for update in updates for number in update)]


class Delta(TypedDict):
    numbers: Annotated[list[int], DeltaChannel(joined, snapshot_frequency=4)]
    rare: Annotated[list[int], DeltaChannel(joined, snapshot_frequency=3)]
    steps: Annotated[int, operator.add]


class Plain(TypedDict):
    numbers: Annotated[list[int], operator.add]
    rare: Annotated[list[int], operator.add]
    steps: Annotated[int, operator.add]


def one(state: Any) -> dict[str, Any]:
    turn = state["steps"]
    return {"numbers": [turn], "steps": 1, **({"rare": [turn]} if turn % 2 == 0 else {})}


def graph(saver: DjangoSaver, schema: Any = Delta) -> Any:
    builder = StateGraph(schema)
    builder.add_node("one", one)
    builder.add_edge(START, "one")
    return builder.compile(checkpointer=saver)


def turns(saver: DjangoSaver, thread_id: str, count: int) -> dict[str, Any]:
    for _ in range(count):
        graph(saver).invoke({"numbers": [100], "steps": 0}, config_for(thread_id), durability="sync")
    return values(saver, thread_id)


def values(saver: DjangoSaver, thread_id: str, schema: Any = Delta) -> dict[str, Any]:
    found: dict[str, Any] = graph(saver, schema).get_state(config_for(thread_id)).values
    return found


def random_history(saver: DjangoSaver, thread_id: str, rng: random.Random) -> list[dict[str, Any]]:
    """Checkpoints, some of which branch off, with values of every kind here and there, and writes."""
    configs: list[dict[str, Any]] = [config_for(thread_id)]
    versions: dict[str, Any] = {}
    for _ in range(rng.randint(2, 12)):
        parent = rng.choice(configs[-3:])
        stored = {name: rng.choice(STORED) for name in "abc" if rng.random() < 0.25}
        checkpoint, new = a_checkpoint(saver, **stored)
        versions |= new
        checkpoint["channel_versions"] = {
            name: new.get(name) or saver.get_next_version(None, None) for name in "abc"
        }
        config = dict(saver.put(parent, checkpoint, {}, new))
        for task in rng.sample(["t1", "t2", "t3"], rng.randint(0, 3)):
            writes = [(rng.choice("abcd"), rng.randint(0, 99)) for _ in range(rng.randint(1, 3))]
            saver.put_writes(config, writes, task, rng.choice(["", "~x", "~a"]))
        configs.append(config)
    return configs[1:]


STORED: list[Any] = [_DeltaSnapshot([1, 2]), [3], True, None, "text", 7, {"k": [1]}]


@pytest.mark.parametrize("seed", range(12))
def test_the_history_is_that_of_langgraphs_own_walk_by_sync_and_async(seed: int) -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    configs = random_history(saver, thread_id, random.Random(seed))
    channels = ["a", "b", "c", "never"]
    for config in [*configs, config_for(thread_id), config_for(str(uuid4()))]:
        expected = BaseCheckpointSaver.get_delta_channel_history(saver, config=config, channels=channels)
        assert saver.get_delta_channel_history(config=config, channels=channels) == expected
        found = asyncio.run(saver.aget_delta_channel_history(config=config, channels=channels))
        assert found == expected
    assert saver.get_delta_channel_history(config=configs[0], channels=[]) == {}


def test_the_history_of_several_channels_is_one_query(monkeypatch: pytest.MonkeyPatch) -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    turns(saver, thread_id, 6)
    asked = []
    original = Statements.rows

    def recording(self: Any, ask: Any) -> Any:
        asked.append(ask.name)
        return original(self, ask)

    monkeypatch.setattr(Statements, "rows", recording)
    saver.get_delta_channel_history(config=config_for(thread_id), channels=["numbers", "rare"])
    assert asked == ["saver_delta_history"]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("turn_count", [1, 2, 3, 4, 5, 12])
def test_p10_prune_keeps_what_the_value_of_the_latest_checkpoint_is_rebuilt_from(turn_count: int) -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    expected = turns(saver, thread_id, turn_count)
    before = Checkpoint.objects.filter(thread_id=thread_id).count()
    saver.prune([thread_id])
    assert values(saver, thread_id) == expected
    after = Checkpoint.objects.filter(thread_id=thread_id).count()
    if turn_count == 12:
        assert after < before / 2
    saver.prune([thread_id])
    assert Checkpoint.objects.filter(thread_id=thread_id).count() == after
    # It goes on from there as a thread that was never pruned does.
    twin = str(uuid4())
    turns(saver, twin, turn_count)
    assert turns(saver, thread_id, 5) == turns(saver, twin, 5)


@pytest.mark.usefixtures("either_way")
def test_p10_prune_keeps_the_history_of_a_channel_that_is_no_delta_channel_any_more() -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    turns(saver, thread_id, 3)
    changed = graph(saver, Plain)
    changed.update_state(config_for(thread_id), {"steps": 0})  # its checkpoint brings no values of the others
    expected = values(saver, thread_id, Plain)
    assert expected["numbers"]
    saver.prune([thread_id])
    assert values(saver, thread_id, Plain) == expected


@pytest.mark.usefixtures("either_way")
def test_p10_prune_goes_up_to_an_overwrite_and_no_further() -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    turns(saver, thread_id, 2)
    graph(saver).update_state(config_for(thread_id), {"numbers": Overwrite([1]), "rare": Overwrite([2])})
    saver.prune([thread_id])
    assert Checkpoint.objects.filter(thread_id=thread_id).count() == 1
    assert values(saver, thread_id)["numbers"] == [1]


@pytest.mark.usefixtures("either_way")
def test_p10_deleting_a_run_leaves_what_later_checkpoints_are_rebuilt_from() -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    for run in ("a", "b"):
        config = config_for(thread_id, run_id=run)
        graph(saver).invoke({"numbers": [ord(run)], "steps": 0}, config, durability="sync")
    expected = values(saver, thread_id)
    saver.delete_for_runs(["a"])
    assert values(saver, thread_id) == expected
    saver.delete_for_runs(["a", "b"])
    for model in (Checkpoint, CheckpointBlob, CheckpointWrite):
        assert not model.objects.filter(thread_id=thread_id).exists()


@pytest.mark.usefixtures("either_way")
def test_p10_a_thread_that_only_javascript_marked_loses_nothing() -> None:
    """LangGraph.js does not say which channels are DeltaChannels: whatever has no value may be one."""
    saver, thread_id = DjangoSaver(), str(uuid4())
    marker = {"delta_writes_versioned": True}
    config = config_for(thread_id)
    for number in range(3):
        checkpoint, versions = a_checkpoint(saver, **({"n": [0]} if number == 0 else {"m": [number]}))
        checkpoint["channel_versions"].setdefault("n", f"{number}")
        config = dict(saver.put(config, checkpoint, marker, versions))
        saver.put_writes(config, [("n", [number])], "task")
    expected = saver.get_delta_channel_history(config=config, channels=["n"])
    assert expected["n"]["seed"] == [0]
    saver.prune([thread_id])
    assert saver.get_delta_channel_history(config=config, channels=["n"]) == expected


def test_p10_a_checkpoint_that_is_saved_while_the_thread_is_pruned_loses_nothing() -> None:
    saver, thread_id = DjangoSaver(), str(uuid4())
    turns(saver, thread_id, 9)
    with connect("default") as holder, connect("default") as pruning, connect("default") as observer:
        holder.execute("BEGIN")
        holder.execute("SELECT FROM checkpoint_writes WHERE thread_id = %s FOR UPDATE", [thread_id])
        pruner = DjangoSaver(connection=pruning)
        thread = threading.Thread(target=pruner.prune, args=([thread_id],))
        thread.start()
        wait_until_blocked(observer, pruning.info.backend_pid)  # it has looked, and deletes
        expected = turns(saver, thread_id, 1)
        holder.execute("ROLLBACK")
        thread.join(10)
    assert values(saver, thread_id) == expected
    assert turns(saver, thread_id, 1)["numbers"][: len(expected["numbers"])] == expected["numbers"]
