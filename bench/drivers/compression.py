"""Stores the checkpoints of a growing conversation under each way of compressing, in turn."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from typing import Annotated, Any, TypedDict
from uuid import uuid4

from django.conf import settings
from django.db import connections
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.graph import START, StateGraph, add_messages

from holdfast.persistence import DjangoSaver

TURNS = 60
WAYS = ("pglz", "lz4", "encrypted")


class Talk(TypedDict):
    """A chat as people have it: all messages, stored whole at each turn."""

    messages: Annotated[list[AnyMessage], add_messages]


def measure(rounds: int) -> dict[str, list[dict[str, float]]]:
    """For each way and round: bytes stored, seconds a turn, seconds to read the newest checkpoint.

    The text is Holdfast's own documentation, a paragraph a message. The first round warms up, and counts for nothing.
    """
    paragraphs = _paragraphs()
    ways = [way for way in WAYS if way != "lz4" or _has_lz4()]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way in ways:
            _use(way)
            once = _once(paragraphs)
            if number:
                found[way].append(once)
    _use("pglz")
    return found


def _once(paragraphs: list[str]) -> dict[str, float]:
    saver = DjangoSaver()
    config: Any = {"configurable": {"thread_id": f"talk-{uuid4()}"}}

    def answer(state: Talk) -> dict[str, Any]:
        return {"messages": [AIMessage(paragraphs[len(state["messages"]) % len(paragraphs)])]}

    graph = StateGraph(Talk).add_node("answer", answer).add_edge(START, "answer").compile(checkpointer=saver)
    began = time.perf_counter()
    for turn in range(TURNS):
        said = HumanMessage(paragraphs[(7 * turn) % len(paragraphs)])
        graph.invoke({"messages": [said]}, config, durability="sync")
    took = time.perf_counter() - began
    reads = []
    for _ in range(20):
        began = time.perf_counter()
        saver.get_tuple(config)
        reads.append(time.perf_counter() - began)
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT sum(pg_column_size(blob)) FROM checkpoint_blobs WHERE thread_id = %(id)s)"
            " + (SELECT sum(pg_column_size(blob)) FROM checkpoint_writes WHERE thread_id = %(id)s)",
            {"id": config["configurable"]["thread_id"]},
        )
        (stored,) = cursor.fetchone()
    return {"bytes": float(stored), "turn": took / TURNS, "read": sorted(reads)[len(reads) // 2]}


def _paragraphs() -> list[str]:
    folder = Path(__file__).resolve().parents[2]
    text = "\n\n".join(
        path.read_text("utf-8") for path in sorted([folder / "README.md", *folder.glob("docs/*.md")])
    )
    return [each for each in re.split(r"\n{2,}", text) if 200 < len(each) < 2000]


def _has_lz4() -> bool:
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
        )
        row = cursor.fetchone()
    return bool(row and row[0])


def _use(way: str) -> None:
    key = base64.b64encode(bytes(32)).decode()
    settings.HOLDFAST = {
        **settings.HOLDFAST,
        "ENCRYPTION": {"keys": {"bench": key}, "active": "bench"} if way == "encrypted" else None,
    }
    if way != "encrypted":
        with connections["default"].cursor() as cursor:
            for table in ("checkpoint_blobs", "checkpoint_writes"):
                cursor.execute(f"ALTER TABLE {table} ALTER COLUMN blob SET COMPRESSION {way}")
