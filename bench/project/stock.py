"""What Holdfast is compared with: a bare Celery task around stock PostgresSaver, without Django.

One connection and one saver a child, a late acknowledgement, the result ignored, ``durability="sync"``.
"""

from __future__ import annotations

import json
import os
from typing import Any

import psycopg
from celery import Celery, signals
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.rows import DictRow, dict_row

from bench.project import chains
from bench.project.celery_setup import configure

app = Celery("bench-stock", set_as_current=True)
configure(app)

LENGTHS = {"bench_one": 1, "bench_ten": 10}
_graphs: dict[str, Any] = {}


def address() -> dict[str, Any]:
    """psycopg's arguments for the lane's database."""
    entry = json.loads(os.environ["HOLDFAST_BENCH_DATABASE"])
    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    return {name: entry[key] or None for name, key in names.items()}


def connect() -> psycopg.Connection[DictRow]:
    """As upstream's ``from_conn_string`` opens its connection."""
    return psycopg.connect(**address(), autocommit=True, prepare_threshold=0, row_factory=dict_row)


@signals.worker_process_init.connect
def _open(**_: Any) -> None:
    saver = PostgresSaver(connect())
    for name, length in LENGTHS.items():
        _graphs[name] = chains.chain(length).compile(checkpointer=saver)


@app.task(name="bench.stock", bind=True, acks_late=True, ignore_result=True)
def run(task: Any, graph: str, given: dict[str, Any]) -> None:
    """One run on a thread of its own."""
    _graphs[graph].invoke(given, {"configurable": {"thread_id": task.request.id}}, durability="sync")
