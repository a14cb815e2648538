"""The examples approval, chat, joke and long_steps, run by LangGraph alone."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import Pregel
from langgraph.types import Command

from holdfast.errors import InvalidInputError
from holdfast.graphs import registry
from holdfast.graphs.examples import graphs
from holdfast.graphs.examples.long_steps import EXIT_CODE, read_log

CONFIG: Any = {"configurable": {"thread_id": "t"}}
STEPS = ["long_steps", "long_steps_async", "long_steps_tasks"]


def running(name: str) -> Pregel[Any, Any, Any, Any]:
    return registry.get(name).compile().copy({"checkpointer": InMemorySaver()})


def invoke(name: str, value: Any) -> Any:
    made = running(name)
    if registry.get(name).is_async:
        return asyncio.run(made.ainvoke(value, CONFIG))
    return made.invoke(value, CONFIG)


def test_every_example_is_registered_and_can_be_used() -> None:
    assert graphs.__all__
    names = {spec.name for spec in registry.all()}
    assert names >= {"approval", "chat", "digest", "joke", *STEPS}
    ours = [spec.name for spec in registry.all() if spec.module.startswith("holdfast.")]
    assert not [error for error in registry.problems() if error.graph in ours]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (True, "approved: a boat"),
        ("Yes", "approved: a boat"),
        ({"approved": True}, "approved: a boat"),
        (False, "refused: a boat"),
        ({"approved": "no", "note": "too dear"}, "refused: a boat (too dear)"),
    ],
)
def test_approval_goes_the_way_of_the_answer(answer: Any, outcome: str) -> None:
    made = running("approval")
    asked = made.invoke({"request": "a boat", "amount": 100.0}, CONFIG)
    assert asked["__interrupt__"][0].value == {"question": "Approve 'a boat'?", "amount": 100.0}
    assert made.invoke(Command(resume=answer), CONFIG)["outcome"] == outcome


@pytest.mark.parametrize("answer", ["perhaps", 1, {"note": "?"}])
def test_approval_asks_again_where_the_answer_is_none(answer: Any) -> None:
    made = running("approval")
    made.invoke({"request": "a boat"}, CONFIG)
    for _ in range(2):
        again = made.invoke(Command(resume=answer), CONFIG)["__interrupt__"][0].value
        assert again["question"] == "Approve 'a boat'?"
        assert f"The answer {json.dumps(answer)} is neither yes nor no" in again["unclear"]
    assert made.invoke(Command(resume="no"), CONFIG)["outcome"] == "refused: a boat"


def test_chat_remembers_its_thread() -> None:
    made = running("chat")
    made.invoke({"messages": "I'm Alice."}, CONFIG)
    made.invoke({"messages": [("user", "I live in Oslo.")]}, CONFIG)
    result = made.invoke({"messages": [{"role": "user", "content": "What's my name?"}]}, CONFIG)
    assert "Alice" in result["messages"][-1].text
    assert len(result["messages"]) == 6
    other = made.invoke({"messages": "What's my name?"}, {"configurable": {"thread_id": "other"}})
    assert "Alice" not in other["messages"][-1].text


def test_joke_is_the_tutorials_graph() -> None:
    made = running("joke")
    result = made.invoke({"topic": "chickens crossing the road"}, CONFIG)
    assert set(result) == {"topic", "joke", "explanation"}
    assert "chickens crossing the road" in result["joke"]
    assert [snapshot.next for snapshot in made.get_state_history(CONFIG)] == [
        (),
        ("explain_joke",),
        ("generate_joke",),
        ("__start__",),
    ]


@pytest.mark.parametrize("name", STEPS)
def test_long_steps_do_each_step_once_and_say_so(name: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    result = invoke(name, {"steps": 3, "seconds": 0.0, "width": 2, "log": str(log)})
    done = result["done"] if isinstance(result, dict) else result
    expected = [f"{step}.{index}" for step in range(3) for index in range(2)]
    assert done == expected
    lines = Counter((what, f"{step}.{index}") for what, step, index, _ in read_log(log))
    assert lines == {(what, place): 1 for what in ("begin", "end") for place in expected}


@pytest.mark.parametrize("name", STEPS)
def test_long_steps_need_no_log(name: str) -> None:
    result = invoke(name, {"steps": 2})
    assert (result["done"] if isinstance(result, dict) else result) == ["0.0", "1.0"]


@pytest.mark.parametrize("name", STEPS)
def test_long_steps_refuse_what_they_cannot_do(name: str) -> None:
    check = registry.get(name).check_input
    check({"steps": 3, "log": None, "die_at": None, "die_times": None, "seconds": 1})
    for wrong, field in (
        ({}, "input.steps"),
        ({"steps": "3"}, "input.steps"),
        ({"steps": 1, "width": 1.5}, "input.width"),
        ({"steps": 1, "second": 1}, "input.second"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            check(wrong)
        assert caught.value.field == field


@pytest.mark.parametrize("name", STEPS)
def test_p9_a_step_dies_as_often_as_it_is_told(name: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = f"""
from tests.unit.test_examples_graphs import invoke
invoke({name!r}, {{"steps": 3, "width": 2, "log": {str(log)!r}, "die_at": 1, "die_times": 2}})
"""
    ended = [
        subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode for _ in range(3)
    ]
    assert ended == [EXIT_CODE, EXIT_CODE, 0]
    assert len({pid for *_, pid in read_log(log)}) == 3
    assert sum(line[:3] == ("begin", 1, 0) for line in read_log(log)) == 3
    assert sum(line[:3] == ("end", 1, 0) for line in read_log(log)) == 1
