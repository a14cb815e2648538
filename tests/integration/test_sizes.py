"""Sizes and times of checkpoints: told in the log, by the command and in the admin; a channel that grows is named."""

from __future__ import annotations

import asyncio
import logging
import operator
import re
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from langgraph.graph import START, StateGraph

import holdfast
from holdfast.persistence import DjangoSaver
from holdfast.persistence.connections import connect
from holdfast.persistence.sizes import size_of
from holdfast.testing import run_now
from tests.extras import extra
from tests.integration.claims import a_checkpoint, config_for
from tests.integration.encrypting import encryption
from tests.integration.shell import Shell

pytestmark = pytest.mark.django_db(transaction=True)


class State(TypedDict, total=False):
    items: Annotated[list[str], operator.add]
    note: str
    number: int


@pytest.fixture
def graph() -> str:
    name = f"sized-{uuid4().hex}"
    builder = StateGraph(State)
    builder.add_node("one", lambda state: {"items": ["y" * 5000], "number": 7})
    builder.add_edge(START, "one")
    holdfast.register(name, version="1")(lambda: builder)
    return name


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


def grow(saver: DjangoSaver, thread_id: str, size: int) -> None:
    checkpoint, versions = a_checkpoint(saver, items=["x" * size], note="short")
    saver.put(config_for(thread_id), checkpoint, {}, versions)


def test_a_channel_that_grows_beyond_the_limit_is_named_once_and_at_each_doubling(
    caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.HOLDFAST = {"LARGE_CHANNEL": 1000}
    thread_id = str(uuid4())
    told = []
    for size in (900, 1100, 1500, 1900, 2300, 3000, 5000):
        caplog.clear()
        grow(DjangoSaver(), thread_id, size)  # as each run has a saver of its own
        told.append(len(warnings(caplog)))
    assert told == [0, 1, 0, 0, 1, 0, 1]
    (message,) = warnings(caplog)
    for part in (thread_id, "'items'", "5,0", "LARGE_CHANNEL", "1,000", "DeltaChannel"):
        assert part in message


def test_a_statement_that_takes_long_is_named(caplog: pytest.LogCaptureFixture, settings: Any) -> None:
    settings.HOLDFAST = {"SLOW_QUERY": 0.0}
    thread_id = str(uuid4())
    saver = DjangoSaver()
    grow(saver, thread_id, 10)
    asyncio.run(saver.aget_tuple(config_for(thread_id)))
    put, get = warnings(caplog)
    assert ("saver_put" in put, "saver_get" in get) == (True, True)
    assert all(thread_id in each and "SLOW_QUERY" in each for each in (put, get))
    assert (saver.usage.checkpoints, saver.usage.statements) == (1, 2)


def test_a_run_tells_what_it_stored_and_how_long_that_took(
    graph: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="holdfast.execute")
    run = run_now(holdfast.enqueue(graph, {"note": "hello"}))
    (told,) = [
        each.getMessage()
        for each in caplog.records
        if str(run.id) in each.getMessage() and "checkpoints of" in each.getMessage()
    ]
    assert re.search(
        r"3 checkpoints of [\d,]+ bytes, the largest channel 'items' with 5,0\d\d; \d+ statements in [\d.]+ s, the slowest saver_\w+ in [\d.]+ s",
        told,
    )


@pytest.mark.parametrize("active", [None, "a"])
def test_the_command_and_the_admin_show_what_a_thread_takes(
    graph: str, settings: Any, capsys: pytest.CaptureFixture[str], client: Client, active: str | None
) -> None:
    if active:
        extra("cryptography")
    settings.HOLDFAST = {"LARGE_CHANNEL": 4000, **encryption(active)}
    run = run_now(holdfast.enqueue(graph, {"note": "hello"}))
    shell = Shell(capsys)
    size = shell.json("show", str(run.id))["thread_size"]
    assert size["checkpoints"] == 3
    assert size["channels"][0]["name"] == "items"
    assert 5000 < size["channels"][0]["bytes"] < 5200
    assert {each["name"] for each in size["channels"]} >= {"note", "number"}
    assert (size["large"], size["read_seconds"] > 0) == (["items"], True)
    said = shell("show", str(run.id))
    assert "3 checkpoints of its thread" in said
    assert "more than HOLDFAST['LARGE_CHANNEL']" in said
    client.force_login(User.objects.create_superuser("looker"))
    page = client.get(
        reverse("admin:holdfast_persistence_thread_change", args=[run.thread_id])
    ).content.decode()
    assert "3 checkpoints take" in page
    assert "more than LARGE_CHANNEL" in page


def test_what_a_thread_takes_is_what_its_rows_take(graph: str) -> None:
    run = run_now(holdfast.enqueue(graph, {"note": "hello"}))
    with connect("default") as reader:
        rows = reader.execute(
            "SELECT coalesce(sum(pg_column_size(blob)), 0) FROM (SELECT blob FROM checkpoint_blobs WHERE thread_id = %(t)s"
            " UNION ALL SELECT blob FROM checkpoint_writes WHERE thread_id = %(t)s) x",
            {"t": run.thread_id},
        ).fetchone()
    size = size_of(run.thread_id)
    assert rows is not None
    assert 0 < rows[0] < size.bytes < rows[0] + 5000
    assert size_of("no such thread").checkpoints == 0


def test_looking_at_sizes_opens_no_connection_of_its_own(graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_now(holdfast.enqueue(graph, {"note": "hello"}))

    def refuse(*args: Any, **kw: Any) -> Any:
        raise AssertionError("a pool was asked for")

    monkeypatch.setattr("holdfast.persistence.connections.outages.pool", refuse)
    assert size_of(run.thread_id).checkpoints == 3
