"""Stock LangGraph in, stock LangGraph out: our saver and upstream's on the same tables."""

from __future__ import annotations

import asyncio
import datetime as dt
import operator
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, TypedDict
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import psycopg
import pytest
from django.db import connections
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import TASKS
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Interrupt, Send, interrupt
from psycopg.rows import dict_row

from holdfast.errors import TypeNotAllowedError
from holdfast.persistence import AsyncDjangoSaver, DjangoSaver
from holdfast.persistence.codec.strict import Codec
from holdfast.persistence.connections import close_pools, conninfo
from tests.integration.claims import a_checkpoint, chain, claim, config_for
from tests.unit.codec_types import Address, Colour, Derived, Job, Order, Place, Point
from tests.unit.sameness import difference

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stock() -> Iterator[PostgresSaver]:
    with psycopg.connect(**conninfo("default"), autocommit=True, row_factory=dict_row) as connection:
        saver = PostgresSaver(connection)
        saver.setup()
        yield saver
    close_pools()


def both(
    stock: BaseCheckpointSaver[str], ours: DjangoSaver, way: str
) -> tuple[BaseCheckpointSaver[str], BaseCheckpointSaver[str]]:
    return (stock, ours) if way == "stock first" else (ours, stock)


ways = pytest.mark.parametrize("way", ["stock first", "ours first"])


def joined(before: list[int], updates: list[list[int]]) -> list[int]:
    return [*before, *(number for update in updates for number in update)]


class Delta(TypedDict):
    numbers: Annotated[list[int], DeltaChannel(joined, snapshot_frequency=4)]
    steps: Annotated[int, operator.add]


class Stop(RuntimeError):
    """What ends the first attempt."""


@ways
def test_p3_a_run_that_one_saver_began_is_continued_by_the_other(stock: PostgresSaver, way: str) -> None:
    fence = claim()
    first, second = both(stock, DjangoSaver(fence=fence), way)
    executed: list[int] = []
    fails = True

    def hook(step: int) -> None:
        executed.append(step)
        if step == 2 and fails:
            raise Stop

    builder, config = chain(4, hook), config_for(fence.thread_id)
    with pytest.raises(Stop):
        builder.compile(checkpointer=first).invoke({"items": [], "count": 0}, config, durability="sync")
    fails = False
    result = builder.compile(checkpointer=second).invoke(None, config, durability="sync")
    assert result == {"items": ["n0", "n1", "n2", "n3"], "count": 4}
    assert executed == [0, 1, 2, 2, 3]


@ways
def test_p3_the_async_saver_of_either_continues_what_the_others_began(way: str) -> None:
    fence = claim()
    executed: list[int] = []
    fails = True

    def hook(step: int) -> None:
        executed.append(step)
        if step == 2 and fails:
            raise Stop

    async def both_parts() -> Any:
        nonlocal fails
        opened = await psycopg.AsyncConnection.connect(
            **conninfo("default"), autocommit=True, row_factory=dict_row
        )
        async with opened as connection:
            stock = AsyncPostgresSaver(connection)
            await stock.setup()
            first, second = both(stock, AsyncDjangoSaver(fence=fence), way)
            builder, config = chain(4, hook), config_for(fence.thread_id)
            with pytest.raises(Stop):
                await builder.compile(checkpointer=first).ainvoke(
                    {"items": [], "count": 0}, config, durability="sync"
                )
            fails = False
            return await builder.compile(checkpointer=second).ainvoke(None, config, durability="sync")

    assert asyncio.run(both_parts()) == {"items": ["n0", "n1", "n2", "n3"], "count": 4}
    assert executed == [0, 1, 2, 2, 3]


@ways
def test_a_question_asked_under_one_saver_is_answered_under_the_other(stock: PostgresSaver, way: str) -> None:
    fence = claim()
    first, second = both(stock, DjangoSaver(fence=fence), way)

    builder = chain(2)

    def ask(state: Any) -> dict[str, Any]:
        return {"items": [interrupt({"sure": True})]}

    builder.add_node("ask", ask)
    builder.add_edge("n1", "ask")
    config = config_for(fence.thread_id)
    paused = builder.compile(checkpointer=first).invoke({"items": [], "count": 0}, config, durability="sync")
    (question,) = paused["__interrupt__"]
    assert isinstance(question, Interrupt)
    graph = builder.compile(checkpointer=second)
    result = graph.invoke(Command(resume={question.id: "yes"}), config, durability="sync")
    assert result["items"] == ["n0", "n1", "yes"]


@ways
def test_each_saver_lists_and_reads_what_the_other_wrote(stock: PostgresSaver, way: str) -> None:
    first, second = both(stock, DjangoSaver(), way)
    thread_id = str(uuid4())
    values = {
        "text": "ü\n",
        "none": None,
        "number": 3,
        "ratio": 0.5,
        "messages": [HumanMessage("hi", id="1"), AIMessage("yo", id="2")],
        "sends": [Send("node", {"a": 1})],
        "wéird name": {"k": b"\x00\xff"},
    }
    parent = None
    for number in range(3):
        checkpoint, versions = a_checkpoint(first, **values, n=[number])
        more = {"checkpoint_id": parent} if parent else {}
        config = first.put(
            config_for(thread_id, **more), checkpoint, {"source": "loop", "step": number, "x": "ü"}, versions
        )
        first.put_writes(
            config, [("text", "later"), ("messages", HumanMessage("z", id="9"))], "task", "~path"
        )
        parent = config["configurable"]["checkpoint_id"]
    assert list(second.list(config_for(thread_id))) == list(first.list(config_for(thread_id)))
    assert second.get_tuple(config_for(thread_id)) == first.get_tuple(config_for(thread_id))
    found = second.get_tuple(config_for(thread_id))
    assert found is not None
    assert found.checkpoint["channel_values"] == {**values, "n": [2]}


@ways
def test_each_saver_builds_the_types_that_the_other_stored(stock: PostgresSaver, way: str) -> None:
    types = (Address, Colour, Derived, Job, Order, Place, Point)
    stock.serde = JsonPlusSerializer(allowed_msgpack_modules=True)
    first, second = both(stock, DjangoSaver(serde=Codec(types)), way)
    thread_id = str(uuid4())
    values = {
        "record": Order(1, Colour.RED),
        "job": Job(name="four"),
        "model": Address(street="x", extra={"n": 1}),
        "point": Point(1, 2),
        "at": dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.timezone(dt.timedelta(hours=2))),
        "set": {Decimal("1.10"), UUID(int=1)},
    }
    if way == "ours first":  # which upstream would have stored as something else
        values |= {
            "zoned": dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
            "pairs": [(1, (2, 3))],
            "keys": {Colour.RED: 1, (Place.HERE, 2): 3},
            "deep": Address(street="x", extra=Derived(street="y", extra=0, more=[Place.THERE])),
        }
    else:
        del values["job"]  # it gives back a dict for it, and so its reader would here
    checkpoint, versions = a_checkpoint(first, **values)
    first.put(config_for(thread_id), checkpoint, {}, versions)
    found = second.get_tuple(config_for(thread_id))
    assert found is not None
    assert difference(values, {name: found.checkpoint["channel_values"][name] for name in values}) is None


def test_p12_what_a_stock_saver_pickled_is_refused_with_advice(stock: PostgresSaver) -> None:
    stock.serde = JsonPlusSerializer(pickle_fallback=True)
    thread_id = str(uuid4())
    checkpoint, versions = a_checkpoint(stock, slice=slice(1, 2))
    stock.put(config_for(thread_id), checkpoint, {}, versions)
    with pytest.raises(TypeNotAllowedError, match=r"pickle_fallback=True.*docs/codec.md") as caught:
        DjangoSaver().get_tuple(config_for(thread_id))
    assert caught.value.type == "pickle"


def test_sends_of_the_format_before_version_4_are_found(stock: PostgresSaver) -> None:
    thread_id = str(uuid4())
    parent = empty_checkpoint()
    parent["v"] = 3
    parent_config = stock.put(config_for(thread_id), parent, {}, {})
    stock.put_writes(parent_config, [(TASKS, Send("node", 1)), (TASKS, Send("node", 2))], "task")
    child = empty_checkpoint()
    child["v"] = 3
    child["channel_versions"] = {"a": stock.get_next_version(None, None)}
    stock.put(parent_config, child, {}, {})
    ours = DjangoSaver()
    expected = stock.get_tuple(config_for(thread_id))
    assert expected is not None
    assert expected.checkpoint["channel_values"][TASKS] == [Send("node", 1), Send("node", 2)]
    assert ours.get_tuple(config_for(thread_id)) == expected
    assert list(ours.list(config_for(thread_id))) == list(stock.list(config_for(thread_id)))
    ours.prune([thread_id])  # P10: the parent stays with them
    assert ours.get_tuple(config_for(thread_id)) == expected


def test_stock_setup_finds_nothing_to_do(stock: PostgresSaver) -> None:
    from langgraph.store.postgres import PostgresStore

    def picture() -> list[Any]:
        with connections["default"].cursor() as cursor:
            cursor.execute(
                "SELECT c.relname, c.oid, c.relfilenode, c.xmin::text FROM pg_class c"
                " WHERE c.relname ~ '^(checkpoint|store|idx_store)' ORDER BY 1"
            )
            tables = cursor.fetchall()
            cursor.execute(
                "SELECT v FROM checkpoint_migrations UNION ALL SELECT -1 - v FROM store_migrations"
            )
            return [*tables, *sorted(cursor.fetchall())]

    before = picture()
    stock.setup()
    PostgresStore(stock.conn).setup()
    assert picture() == before


def test_the_store_keeps_items_where_upstreams_store_finds_them(stock: PostgresSaver) -> None:
    from langgraph.store.postgres import PostgresStore

    from holdfast.persistence import DjangoStore

    ours, theirs, space = DjangoStore(), PostgresStore(stock.conn), ("users", str(uuid4()))
    ours.put(space, "a", {"n": 1})
    theirs.put(space, "b", {"n": 2})
    assert theirs.get(space, "a").value == {"n": 1}
    assert sorted(item.key for item in ours.search(space)) == ["a", "b"]
    ours.delete(space, "b")
    assert theirs.get(space, "b") is None


@ways
def test_a_delta_channel_is_rebuilt_from_what_the_other_saver_wrote(stock: PostgresSaver, way: str) -> None:
    builder = StateGraph(Delta)
    builder.add_node("one", lambda state: {"numbers": [len(state["numbers"])], "steps": 1})
    builder.add_edge(START, "one")
    fence = claim()
    savers = both(stock, DjangoSaver(fence=fence), way)
    config = config_for(fence.thread_id)
    for turn in range(6):
        graph = builder.compile(checkpointer=savers[turn % 2])
        result = graph.invoke({"numbers": [100 + turn], "steps": 0}, config, durability="sync")
    assert result["numbers"] == [n for turn in range(6) for n in (100 + turn, 2 * turn + 1)]
    DjangoSaver().prune([fence.thread_id])
    for saver in savers:
        assert builder.compile(checkpointer=saver).get_state(config).values == result
