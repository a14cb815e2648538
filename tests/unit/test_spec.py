"""What a registered graph is compiled to, and what is refused of it."""

from __future__ import annotations

import dataclasses
import enum
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.cache.base import BaseCache
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph.types import interrupt
from pydantic import BaseModel

from holdfast.errors import GraphDefinitionError
from holdfast.graphs.spec import GraphSpec


class Colour(enum.Enum):
    RED = "red"


class Paint(BaseModel):
    colour: Colour


@dataclass
class Wall:
    paint: Paint


class Inner(BaseModel):
    depth: int


class State(TypedDict, total=False):
    x: int
    walls: list[Wall]


class InnerState(TypedDict, total=False):
    x: int
    inner: Annotated[Inner, "kept"]


def spec(builder: Any, **options: Any) -> GraphSpec:
    return GraphSpec(name="g", version="1", builder=builder, module=__name__, place="here", **options)


def one(state: State) -> dict[str, Any]:
    return {"x": state.get("x", 0) + 1}


async def aone(state: State) -> dict[str, Any]:
    return {"x": state.get("x", 0) + 1}


def graph(node: Any = one, schema: Any = State) -> StateGraph[Any, Any, Any, Any]:
    built = StateGraph(schema)
    built.add_node("one", node)
    built.add_edge(START, "one")
    return built


def test_a_spec_is_frozen_and_keyword_only() -> None:
    made = spec(graph)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "other"
    with pytest.raises(TypeError):
        GraphSpec("g", "1", graph)
    assert made == spec(graph)


@pytest.mark.parametrize(
    "builder", [graph, lambda: graph().compile(), lambda: graph().compile(checkpointer=InMemorySaver())]
)
def test_each_form_of_graph_compiles_without_a_saver(builder: Any) -> None:
    compiled = spec(builder).compile()
    assert compiled.checkpointer is None
    assert compiled.invoke({"x": 1}) == {"x": 2}


def test_an_entrypoint_compiles_without_a_saver() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def flow(x: int) -> int:
        return x + 1

    compiled = spec(lambda: flow).compile()
    assert compiled.checkpointer is None
    assert compiled.invoke(1) == 2
    assert flow.checkpointer is not None  # the user's own object is left as it was


def test_stores_and_caches_in_memory_are_left_off_and_others_kept() -> None:
    class OwnStore(InMemoryStore):
        pass

    class Wrapped:
        """Not in memory, as far as one can tell."""

    compiled = spec(lambda: graph().compile(store=InMemoryStore(), cache=InMemoryCache())).compile()
    assert (compiled.store, compiled.cache) == (None, None)
    kept = Wrapped()
    assert spec(lambda: graph().compile(store=kept)).compile().store is kept


def test_p11_a_cache_that_cannot_keep_the_cache_version_is_refused() -> None:
    class Versioned(BaseCache[Any]):
        def __init__(self, version: str) -> None:
            super().__init__()
            self.version = version

        def get(self, keys: Any) -> Any: ...
        def set(self, pairs: Any) -> None: ...
        def clear(self, namespaces: Any = None) -> None: ...
        async def aget(self, keys: Any) -> Any: ...
        async def aset(self, pairs: Any) -> None: ...
        async def aclear(self, namespaces: Any = None) -> None: ...

    class Stranger(Versioned):
        def __init__(self) -> None:
            BaseCache.__init__(self)

    for cache, why in ((Stranger(), "Stranger, which knows no versions"), (Versioned("1"), "version='1'")):
        with pytest.raises(GraphDefinitionError, match=why):
            spec(lambda own=cache: graph().compile(cache=own), cache_version="2").compile()
        assert spec(lambda own=cache: graph().compile(cache=own)).compile().cache is cache
    for cache in (Versioned(""), InMemoryCache(), None):
        spec(lambda own=cache: graph().compile(cache=own), cache_version="2").compile()


def test_a_saver_attached_by_copy_keeps_the_compiled_graph_bare() -> None:
    made = spec(graph)
    running = made.compile().copy({"checkpointer": InMemorySaver()})
    config: Any = {"configurable": {"thread_id": "t"}}
    assert running.invoke({"x": 1}, config) == {"x": 2}
    assert running.get_state(config).values == {"x": 2}
    assert made.compile().checkpointer is None


def test_the_graph_is_built_once_however_many_threads_ask() -> None:
    built = []
    barrier = threading.Barrier(8)

    def builder() -> Any:
        built.append(1)
        return graph()

    made = spec(builder)
    found = []

    def ask() -> None:
        barrier.wait(30)
        found.append(made.compile())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert built == [1]
    assert len({id(each) for each in found}) == 1


@pytest.mark.parametrize("option", ["interrupt_before", "interrupt_after"])
@pytest.mark.parametrize("nodes", ["*", ["one"]])
def test_p13_a_graph_with_static_interrupts_is_refused_naming_interrupt(option: str, nodes: Any) -> None:
    made = spec(lambda: graph().compile(**{option: nodes}))
    for _ in range(2):
        with pytest.raises(GraphDefinitionError, match=rf"{option}.*Call interrupt\(\)") as caught:
            made.compile()
    assert (caught.value.graph, caught.value.place) == ("g", "here")


def _node_is_subgraph(sub: Any) -> Any:
    return graph(sub)


def _called_in_a_node(sub: Any) -> Any:
    return graph(lambda state: sub.invoke(state))


def _called_through_a_method(sub: Any) -> Any:
    invoke = sub.invoke
    return graph(lambda state: invoke(state))


def _in_a_chain(sub: Any) -> Any:
    return graph(RunnableLambda(lambda state: state) | sub.with_config(tags=["t"]))


def _called_in_an_entrypoint(sub: Any) -> Any:
    @entrypoint()
    def flow(x: dict[str, int]) -> Any:
        return sub.invoke(x)

    return flow


def _called_in_a_task(sub: Any) -> Any:
    @task
    def step(x: dict[str, int]) -> Any:
        return sub.invoke(x)

    @entrypoint()
    def flow(x: dict[str, int]) -> Any:
        return step(x).result()

    return flow


HIDING_PLACES = [
    _node_is_subgraph,
    _called_in_a_node,
    _called_through_a_method,
    _in_a_chain,
    _called_in_an_entrypoint,
    _called_in_a_task,
]


@pytest.mark.parametrize("place", HIDING_PLACES)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("saver", [None, True, False])
def test_p13_static_interrupts_in_a_subgraph_are_refused(place: Any, depth: int, saver: Any) -> None:
    sub = graph().compile(interrupt_before=["one"], checkpointer=saver)
    if depth == 2:
        sub = graph(sub).compile(checkpointer=saver)
    with pytest.raises(GraphDefinitionError, match="interrupt_before in its subgraph"):
        spec(lambda: place(sub)).compile()


def test_interrupt_in_a_node_and_in_a_subgraph_is_the_way() -> None:
    def ask(state: State) -> dict[str, Any]:
        return {"x": interrupt("x?")}

    assert spec(lambda: graph(graph(ask).compile())).compile()


def test_a_graph_that_refuses_checkpoints_is_refused() -> None:
    with pytest.raises(GraphDefinitionError, match="checkpointer=False"):
        spec(lambda: graph().compile(checkpointer=False)).compile()
    sub = graph().compile(checkpointer=False)
    assert spec(lambda: graph(sub)).compile()


@pytest.mark.parametrize("wrong", [None, 1, graph, RunnableLambda(one)])
def test_p11_a_builder_of_something_else_is_refused(wrong: Any) -> None:
    with pytest.raises(GraphDefinitionError, match=r"'g' \(version '1', here\).*its builder returned"):
        spec(lambda: wrong).compile()


def test_p11_an_error_in_the_builder_names_the_graph_and_keeps_its_cause() -> None:
    def broken() -> Any:
        raise KeyError("colour")

    with pytest.raises(GraphDefinitionError, match=r"'g'.*KeyError: 'colour'") as caught:
        spec(broken).compile()
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(GraphDefinitionError, match="ValueError"):
        spec(lambda: StateGraph(State)).compile()


# --- async -----------------------------------------------------------------------------------


@task
async def atask(x: int) -> int:
    return x


@task
def stask(x: int) -> int:
    return x


@entrypoint()
def sync_flow(x: int) -> int:
    return stask(x).result()


@entrypoint()
async def async_flow(x: int) -> int:
    return await atask(x)


@entrypoint()
def mixed_flow(x: int) -> int:
    return atask(x).result()


def _async_branch() -> Any:
    async def choose(state: State) -> str:
        return "two"

    built = graph()
    built.add_node("two", one)
    built.add_conditional_edges("one", choose, ["two"])
    return built


@pytest.mark.parametrize(
    ("builder", "expected"),
    [
        (graph, False),
        (lambda: graph(aone), True),
        (lambda: graph(RunnableLambda(aone)), True),
        (lambda: graph(RunnableLambda(one, aone)), False),
        (lambda: graph(RunnableLambda(one) | RunnableLambda(aone)), True),
        (lambda: graph(graph(aone).compile()), True),
        (lambda: graph(graph().compile()), False),
        (_async_branch, True),
        (lambda: sync_flow, False),
        (lambda: async_flow, True),
        (lambda: mixed_flow, True),
    ],
)
def test_a_graph_is_async_if_any_part_has_no_sync_form(builder: Any, expected: bool) -> None:
    assert spec(builder).is_async is expected
    assert spec(builder, asynchronous=not expected).is_async is not expected


@pytest.mark.parametrize("async_only", [True, False])
def test_a_tool_node_is_async_if_a_tool_is(async_only: bool) -> None:
    from langchain_core.tools import StructuredTool
    from langgraph.prebuilt import ToolNode

    async def later(x: int) -> int:
        """Later."""
        return x

    def now(x: int) -> int:
        """Now."""
        return x

    tool = StructuredTool.from_function(
        None if async_only else now, coroutine=later, name="t", description="t"
    )
    assert spec(lambda: graph(ToolNode([tool]))).is_async is async_only


# --- allow list ------------------------------------------------------------------------------


def own(made: GraphSpec) -> set[str]:
    return {name for module, name in made.allowlist if module == __name__}


def test_p12_the_types_of_the_schemas_are_allowed() -> None:
    assert own(spec(graph)) == {"Wall", "Paint", "Colour"}


def test_p12_the_types_of_a_subgraph_are_allowed() -> None:
    sub = graph(schema=InnerState).compile()
    assert own(spec(lambda: graph(sub))) == {"Wall", "Paint", "Colour", "Inner"}
    assert own(spec(lambda: graph(lambda state: sub.invoke(state)))) == {"Wall", "Paint", "Colour", "Inner"}


@task
def paint(colour: Colour) -> Paint:
    return Paint(colour=colour)


@entrypoint()
def decorate(inner: Inner) -> Wall:
    return Wall(paint(Colour.RED).result())


def test_p12_the_types_of_an_entrypoint_and_its_tasks_are_allowed() -> None:
    # this module's annotations are strings, which LangGraph itself does not look into
    assert own(spec(lambda: decorate)) == {"Inner", "Wall", "Paint", "Colour"}


def test_p12_the_allow_list_holds_what_langgraph_derives() -> None:
    script = f"""
from langgraph.checkpoint.memory import InMemorySaver
from {__name__} import graph, spec, InnerState
from langgraph._internal import _serde
assert _serde.STRICT_MSGPACK_ENABLED
seen = []
class Saver(InMemorySaver):
    def with_allowlist(self, extra):
        seen.append(set(extra))
        return self
graph().compile(checkpointer=Saver())
assert seen and seen[0] == spec(graph).allowlist, seen[0] ^ spec(graph).allowlist
"""
    env = {
        **os.environ,
        "LANGGRAPH_STRICT_MSGPACK": "true",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    subprocess.run([sys.executable, "-c", script], check=True, env=env, timeout=60)


def test_p12_a_strict_saver_stores_and_loads_what_the_allow_list_names() -> None:
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    def build_wall(state: State) -> dict[str, Any]:
        return {"walls": [Wall(Paint(colour=Colour.RED))]}

    made = spec(lambda: graph(build_wall))
    saver = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=None)).with_allowlist(
        made.allowlist
    )
    running = made.compile().copy({"checkpointer": saver})
    config: Any = {"configurable": {"thread_id": "t"}}
    running.invoke({"x": 1}, config)
    assert running.get_state(config).values["walls"] == [Wall(Paint(colour=Colour.RED))]
