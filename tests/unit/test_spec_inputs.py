"""The door is shut to nonsense (P11): what each kind of graph accepts and refuses as its input."""

from __future__ import annotations

import copy
import enum
import operator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, NotRequired, Required, TypedDict

import pytest
from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.channels import LastValue
from langgraph.func import entrypoint
from langgraph.graph import START, MessagesState, StateGraph, add_messages
from langgraph.managed import RemainingSteps
from langgraph.pregel import NodeBuilder, Pregel
from langgraph.types import Command, Overwrite
from pydantic import BaseModel, Field, model_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass

from holdfast.errors import InvalidInputError
from holdfast.graphs.spec import GraphSpec
from tests.unit.steady_ids import steady

UserId = NewType("UserId", int)


class Tone(enum.StrEnum):
    DRY = "dry"


class Doc(BaseModel):
    title: str
    pages: int = 1


class Source(TypedDict):
    url: str
    depth: NotRequired[int]


class State(TypedDict):
    topic: str
    count: int
    ratio: float
    docs: list[Doc]
    sources: list[Source]
    pair: tuple[int, str]
    tags: set[str]
    mode: Literal["fast", "slow"]
    tone: Tone
    maybe: str | None
    either: int | list[str]
    anything: Any
    user: UserId
    limited: Annotated[int, Field(gt=0, le=9)]
    by_name: dict[str, int]
    path: Path
    log: Annotated[list[str], operator.add]
    merged: Annotated[list[str], lambda left, right: [*left, right]]
    messages: Annotated[list[AnyMessage], add_messages]
    left: RemainingSteps


class Demanding(TypedDict, total=False):
    topic: Required[str]
    title: str


class Narrow(TypedDict, total=False):
    topic: str


class Model(BaseModel):
    topic: str
    count: int = 0
    docs: list[Doc] = []
    messages: Annotated[list[AnyMessage], add_messages] = []
    merged: Annotated[list[str], lambda left, right: [*left, right]] = []

    @model_validator(mode="before")
    @classmethod
    def takes_apart(cls, values: Any) -> Any:
        for doc in values.get("docs", []):
            if isinstance(doc, dict):
                doc.pop("note", None)
        return values

    @model_validator(mode="after")
    def no_secrets(self) -> Model:
        if self.topic == "secret":
            raise ValueError("not that one")
        return self


@dataclass
class Record:
    topic: str
    count: int = 0
    log: Annotated[list[str], operator.add] = field(default_factory=list)


@pydantic_dataclass
class Checked:
    topic: str
    count: int = 0


def spec(schema: Any, **options: Any) -> GraphSpec:
    def build() -> Any:
        graph = StateGraph(schema, **options)
        graph.add_node("one", lambda state: None)
        graph.add_edge(START, "one")
        return graph

    return GraphSpec(name="g", version="1", builder=build, module=__name__, place="here")


def flow_of(function: Any) -> GraphSpec:
    flow = entrypoint()(function)
    return GraphSpec(name="g", version="1", builder=lambda: flow, module=__name__, place="here")


def refused(made: GraphSpec, value: Any, **options: Any) -> str:
    with pytest.raises(InvalidInputError) as caught:
        made.check_input(value, **options)
    assert caught.value.message.startswith("The graph 'g' refuses its input: " + caught.value.field)
    assert "\n" not in caught.value.message
    return str(caught.value.field)


GOOD: list[dict[str, Any]] = [
    {},
    {"topic": "sea"},
    {"topic": "sea", "count": 3, "ratio": 1},
    {"docs": [Doc(title="a")]},
    {"sources": [{"url": "u"}, {"url": "u", "depth": 1, "extra": True}]},
    {"pair": (1, "a")},
    {"pair": [1, "a"]},
    {"tags": {"a"}},
    {"mode": "fast", "tone": "dry"},
    {"tone": Tone.DRY},
    {"maybe": None},
    {"either": 1},
    {"either": ["a"]},
    {"anything": object()},
    {"user": 3},
    {"limited": 9},
    {"by_name": {"a": 1}},
    {"path": Path("a")},
    {"log": ["a"]},
    {"log": Overwrite(["a"])},
    {"log": {"__overwrite__": ["a"]}},
    {"merged": "whatever the reducer takes"},
    {"messages": "hello"},
    {"messages": ("user", "hello")},
    {"messages": ["hello", ("ai", "hi"), {"role": "user", "content": "x"}, HumanMessage("y")]},
    {"messages": HumanMessage("y")},
    {"messages": []},
]

BAD: list[tuple[Any, str]] = [
    ({"topic": 3}, "input.topic"),
    ({"topic": None}, "input.topic"),
    ({"count": "3"}, "input.count"),
    ({"count": True}, "input.count"),
    ({"count": 1.0}, "input.count"),
    ({"ratio": "1"}, "input.ratio"),
    ({"docs": {"title": "a"}}, "input.docs"),
    ({"docs": [Doc(title="a"), {"title": "a"}]}, "input.docs.1"),
    ({"sources": [{"url": "u"}, {"depth": 1}]}, "input.sources.1.url"),
    ({"sources": [{"url": "u", "depth": "x"}]}, "input.sources.0.depth"),
    ({"pair": (1,)}, "input.pair"),
    ({"pair": (1, 2)}, "input.pair.1"),
    ({"tags": ["a"]}, "input.tags"),
    ({"tags": "a"}, "input.tags"),
    ({"mode": "medium"}, "input.mode"),
    ({"tone": "wet"}, "input.tone"),
    ({"maybe": 3}, "input.maybe"),
    ({"either": ["a", 1]}, "input.either.1"),
    ({"either": "a"}, "input.either"),
    ({"user": "3"}, "input.user"),
    ({"limited": 0}, "input.limited"),
    ({"limited": 10}, "input.limited"),
    ({"by_name": {"a": "b"}}, "input.by_name.a"),
    ({"by_name": {1: 1}}, "input.by_name"),
    ({"path": "a"}, "input.path"),
    ({"log": "a"}, "input.log"),
    ({"log": [1]}, "input.log.0"),
    ({"log": Overwrite("a")}, "input.log"),
    ({"messages": 3}, "input.messages"),
    ({"messages": ["a", {"content": "no role"}]}, "input.messages.1"),
    ({"messages": [("martian", "hello")]}, "input.messages.0"),
    ({"topics": "sea"}, "input.topics"),
    ({"topic": "sea", "nothing": 1}, "input.nothing"),
    ({"left": 3}, "input.left"),
    ({1: 2}, "input.1"),
    (None, "input"),
    ([], "input"),
    ("topic", "input"),
    (3, "input"),
    (Command(resume="yes"), "input"),
]


@pytest.mark.parametrize("value", GOOD, ids=steady)
def test_p11_a_typed_dict_accepts(value: Any) -> None:
    spec(State).check_input(value)


@pytest.mark.parametrize(("value", "where"), BAD, ids=steady)
def test_p11_a_typed_dict_refuses(value: Any, where: str) -> None:
    assert refused(spec(State), value) == where


def test_p11_an_unknown_key_names_the_near_one() -> None:
    with pytest.raises(InvalidInputError, match="did you mean 'topic'"):
        spec(State).check_input({"topics": "sea"})


def test_p11_a_key_of_the_state_that_is_not_of_the_input_is_refused() -> None:
    made = spec(State, input_schema=Narrow)
    made.check_input({"topic": "sea"})
    with pytest.raises(InvalidInputError, match="is a key of the state, but not of the input"):
        made.check_input({"topic": "sea", "count": 1})


def test_p11_only_keys_marked_required_are_demanded_of_a_typed_dict() -> None:
    made = spec(Demanding)
    made.check_input({"topic": "sea"})
    assert refused(made, {"title": "a"}) == "input.topic"
    assert refused(made, {}) == "input.topic"
    made.check_input({"title": "a"}, partial=True)
    assert refused(made, {"title": 3}, partial=True) == "input.title"


def test_p11_a_pydantic_state_is_judged_by_its_model() -> None:
    made = spec(Model)
    made.check_input({"topic": "sea", "count": "3", "docs": [{"title": "a", "pages": "2"}]})
    made.check_input(Model(topic="sea"))
    made.check_input({"topic": "sea", "messages": [("user", "hi")], "merged": "one"})
    assert refused(made, {"count": 1}) == "input.topic"
    assert refused(made, {}) == "input.topic"
    assert refused(made, {"topic": "sea", "docs": [{"pages": 1}]}) == "input.docs.0.title"
    assert refused(made, {"topic": "sea", "count": "many"}) == "input.count"
    assert refused(made, {"topic": "sea", "messages": [{"no": "role"}]}) == "input.messages.0"
    assert refused(made, {"topic": "secret"}) == "input"
    assert refused(made, {"topic": "sea", "kount": 1}) == "input.kount"


def test_p11_a_later_input_to_a_thread_need_not_be_complete() -> None:
    made = spec(Model)
    made.check_input({"count": 1}, partial=True)
    made.check_input({"messages": "again"}, partial=True)
    assert refused(made, {"count": "many"}, partial=True) == "input.count"


def test_p11_a_dataclass_state_demands_fields_without_default() -> None:
    made = spec(Record)
    made.check_input({"topic": "sea"})
    made.check_input(Record("sea"))
    assert refused(made, {"count": 1}) == "input.topic"
    assert refused(made, {"topic": "sea", "count": "3"}) == "input.count"
    assert refused(made, {"topic": "sea", "log": "x"}) == "input.log"
    assert refused(made, Record("sea", "3")) == "input.count"
    made.check_input({"count": 1}, partial=True)


def test_p11_a_pydantic_dataclass_converts_as_its_model_does() -> None:
    made = spec(Checked)
    made.check_input({"topic": "sea", "count": "3"})
    assert refused(made, {"topic": "sea", "count": "many"}) == "input.count"
    assert refused(made, {"count": 1}) == "input.topic"


def test_p11_a_state_without_keys_is_judged_whole() -> None:
    spec(Annotated[list, operator.add]).check_input([1])
    assert refused(spec(Annotated[list, operator.add]), "x") == "input"
    spec(dict).check_input({"whatever": 1})


def test_p11_the_messages_state_of_langgraph_accepts_what_langgraph_does() -> None:
    spec(MessagesState).check_input({"messages": [{"role": "user", "content": "hi"}]})
    assert refused(spec(MessagesState), {"message": "hi"}) == "input.message"


def test_p11_an_entrypoint_is_judged_by_its_first_parameter() -> None:
    def count(n: int) -> int:
        return n

    flow_of(count).check_input(3)
    assert refused(flow_of(count), "3") == "input"
    assert refused(flow_of(count), None) == "input"

    def listed(words: list[str], *, previous: Any = None) -> int:
        return len(words)

    assert refused(flow_of(listed), ["a", 1]) == "input.1"

    def anything(x):
        return x

    flow_of(anything).check_input({"a": object()})

    async def later(source: Source) -> str:
        return source["url"]

    flow_of(later).check_input({"url": "u"})
    assert refused(flow_of(later), {}) == "input.url"
    assert refused(flow_of(later), {"url": "u", "dept": 1}) == "input.dept"

    def modelled(doc: Doc) -> str:
        return doc.title

    flow_of(modelled).check_input(Doc(title="a"))
    assert refused(flow_of(modelled), {"title": "a"}) == "input"  # LangGraph would hand over the dict


def test_p11_a_plain_pregel_graph_is_judged_by_its_channels() -> None:
    def build() -> Any:
        node = NodeBuilder().subscribe_only("a").do(lambda a: a).write_to("b")
        return Pregel(
            nodes={"one": node},
            channels={"a": LastValue(int), "b": LastValue(int)},
            input_channels=["a"],
            output_channels="b",
        )

    made = GraphSpec(name="g", version="1", builder=build, module=__name__, place="here")
    made.check_input({"a": 1})
    assert made.compile().invoke({"a": 1}) == 1
    assert refused(made, {"a": "1"}) == "input.a"
    assert refused(made, {"b": 1}) == "input.b"


@pytest.mark.parametrize("schema", [State, Model])
def test_the_value_is_left_as_it_is(schema: Any) -> None:
    value = {
        "topic": "sea",
        "count": 3,
        "messages": [HumanMessage("a"), {"role": "user", "content": "x"}, ("ai", "hi")],
    }
    if schema is Model:
        value["docs"] = [{"title": "a", "note": "x"}]
    before = copy.deepcopy(value)
    spec(schema).check_input(value)
    assert value == before
    assert value["messages"][0].id is None


def test_p11_a_value_that_contains_itself_is_refused() -> None:
    class Tree(TypedDict, total=False):
        below: list[Any]

    Tree.__annotations__["below"] = list[Tree]  # what a module-level recursive type resolves to
    tree: Any = {"below": []}
    tree["below"].append(tree)
    assert refused(spec(Tree), tree) == "input"


@pytest.mark.parametrize("value", GOOD[1:], ids=steady)
def test_what_is_accepted_langgraph_accepts(value: Any) -> None:
    spec(State).compile().invoke(value)
