"""What a graph takes, said for people: the same keys that are demanded when a run is enqueued."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Required, TypedDict

import pytest
from langgraph.func import entrypoint
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import BaseModel

from holdfast.errors import InvalidInputError
from holdfast.graphs import inputs
from holdfast.graphs.signature import signature


class Typed(TypedDict, total=False):
    request: Required[str]
    amounts: list[float]
    kind: Literal["a", "b"]
    log: Annotated[dict[str, int] | None, "a remark"]


class Model(BaseModel):
    request: str
    amount: float = 1.0


@dataclass
class Data:
    request: str
    amounts: list[int] = field(default_factory=list)


class Whole(TypedDict):
    steps: int
    seconds: Required[float]


def graph(schema: Any) -> Any:
    made = StateGraph(schema)
    made.add_node("node", lambda _: {})
    made.add_edge(START, "node")
    made.add_edge("node", END)
    return made.compile()


class Part(TypedDict, total=False):
    steps: Required[int]
    log: str


@entrypoint()
def part(given: Part) -> int:
    return given["steps"]


@entrypoint()
def tasks(given: Whole) -> int:
    return given["steps"]


@entrypoint()
def plain(given: list[str]) -> int:
    return len(given)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            graph(Typed),
            "request: str, amounts?: list[float], kind?: Literal['a', 'b'], log?: dict[str, int] | None",
        ),
        (graph(Model), "request: str, amount?: float"),
        (graph(Data), "request: str, amounts?: list[int]"),
        (graph(MessagesState), "messages?: messages"),
        (graph(Annotated[list[str], lambda a, b: a + b]), "list[str]"),
        (tasks, "steps: int, seconds: float"),
        (part, "steps: int, log?: str"),
        (plain, "list[str]"),
    ],
)
def test_the_input_is_told_with_its_keys_and_types(made: Any, said: str) -> None:
    assert str(signature(made)) == said


@pytest.mark.parametrize("made", [graph(Typed), graph(Model), graph(Data), tasks, part])
def test_p11_what_is_told_as_demanded_is_what_is_demanded(made: Any) -> None:
    values = {"str": "x", "float": 1.0, "int": 1}
    needed = {key.name: values[key.type] for key in signature(made).keys if key.required}
    inputs.check(made, needed, name="g")
    for name in needed:
        with pytest.raises(InvalidInputError, match=name):
            inputs.check(made, {key: value for key, value in needed.items() if key != name}, name="g")
