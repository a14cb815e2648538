"""Transfer: whatever one backend holds, another holds afterwards, whenever it was stopped on the way."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from langgraph.checkpoint.memory import InMemorySaver
from typer.testing import CliRunner

import holdfast
from holdfast.errors import TransferError
from holdfast.persistence import DjangoSaver, DjangoStore, transfer
from holdfast.persistence.backends import close_backends, open_saver, open_store
from holdfast.persistence.codec import codec
from holdfast.persistence.models import Checkpoint, RunRow, StoreItem, Thread
from holdfast.persistence.transfer import differences
from holdfast.runner import transfers
from holdfast.runner.management.cli import app
from holdfast.testing import run_now
from tests.acceptance.journal.pages import notes, page
from tests.acceptance.waiting import until
from tests.integration import backend_graphs as _graphs  # noqa: F401 - registers them
from tests.integration.backend_servers import ELSEWHERE, address, on
from tests.integration.claims import config_for
from tests.integration.lifecycle import notes_of, written

__all__ = ["address"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[str]:
    """The address of a file that is empty."""
    yield f"sqlite:///{tmp_path}/other.db"
    close_backends()


def of_thread(saver: Any, thread_id: str) -> dict[tuple[str, str], Any]:
    """Its checkpoints, by namespace and id."""
    whole = {"configurable": {"thread_id": thread_id}}
    return {
        (each.config["configurable"]["checkpoint_ns"], each.checkpoint["id"]): each
        for each in saver.list(whole)
    }


def assert_same(one: Any, other: Any, *threads: str) -> None:
    for thread_id in threads:
        here, there = of_thread(one, thread_id), of_thread(other, thread_id)
        assert here.keys() == there.keys()
        assert here
        assert {name for key in here for name in differences(here[key], there[key], codec())} == set()


@on(*[name for name in ELSEWHERE if name != "custom"])
def test_all_goes_there_and_back_and_runs_go_on(address: str, settings: Any) -> None:
    """Namespaces of subgraphs, questions that wait, pending writes of siblings, and the store."""
    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": "django", "STORE": "django"}
    waiting, ended = written("a", 2, ask_at=1), written("b", 3)
    nested = run_now(holdfast.enqueue("asking_below", {"notes": ["in"]}))
    assert nested.status == "interrupted"
    DjangoStore().put(("users", "1"), "language", {"code": "de", "since": [1, None]})
    threads = [run.thread_id for run in (waiting, ended, nested)]
    assert {namespace for namespace, _ in of_thread(DjangoSaver(), nested.thread_id)} > {""}

    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": address, "STORE": address}
    report = transfers.transfer("django", address)
    assert (report.threads, report.checkpoints, report.items) == (3, Checkpoint.objects.count(), 1)
    assert report.writes > 0
    assert_same(DjangoSaver(), open_saver(address), *threads)
    item = open_store(address).get(("users", "1"), "language")
    assert item is not None
    assert item.value == {"code": "de", "since": [1, None]}
    again = transfers.transfer("django", address)
    assert (again.checkpoints, again.items, again.there) == (0, 0, report.checkpoints + 1)

    assert run_now(holdfast.resume(waiting.id, "yes")).result["notes"] == ["a>", "a.0", "a=yes"]
    below = run_now(holdfast.resume(nested.id, "deep"))
    assert (below.status, below.result) == ("succeeded", {"notes": ["in", "asked deep"]})
    written("c", 1, thread=ended.thread_id)

    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": "django", "STORE": "django"}
    back = transfers.transfer(address, "django")
    assert back.checkpoints > 0
    assert_same(DjangoSaver(), open_saver(address), *threads)
    written("d", 1, thread=ended.thread_id)
    assert notes_of(ended.thread_id) == [*notes("b", 3), *notes("c", 1), *notes("d", 1)]


@on("sqlite", "postgresql")
def test_an_item_s_times_go_along_where_the_target_s_tables_are_known(address: str, settings: Any) -> None:
    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": "django", "STORE": "django"}
    _old_items()
    before = _times_here()
    transfers.transfer("django", address)
    again = transfers.transfer("django", address)
    assert (again.items, again.there, again.times) == (0, 3, True)
    StoreItem.objects.all().delete()
    back = transfers.transfer(address, "django")
    assert (back.items, back.times) == (3, True)
    assert _times_here() == before

    StoreItem.objects.filter(key="kept").update(updated_at=timezone.now())
    assert transfers.transfer("django", address).items == 1, "equal in value, and changed since"


@on("memory", "custom", "redis", "mongodb")
def test_that_an_item_s_times_are_not_kept_is_said(address: str, settings: Any) -> None:
    target = settings.HOLDFAST["STORE"]
    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": "django", "STORE": "django"}
    _old_items()
    report = transfers.transfer("django", target, checkpoints=False)
    assert (report.items, report.times) == (3, False)
    made = open_store(target).get(("a",), "kept")
    assert made is not None
    assert made.created_at.year == timezone.now().year
    assert transfers.transfer("django", target, checkpoints=False).items == 0


@on("redis")
def test_to_redis_an_item_goes_with_the_time_that_it_has_left(address: str, settings: Any) -> None:
    import redis

    settings.HOLDFAST = {**settings.HOLDFAST, "CHECKPOINTER": "django", "STORE": "django"}
    _old_items()
    transfers.transfer("django", address)
    client: Any = redis.Redis.from_url(address)
    left = {client.json().get(key)["key"]: client.ttl(key) for key in client.scan_iter("store:*")}
    assert left["kept"] == -1
    assert 0 < left["short"] <= 3600
    assert 3600 < left["long"] <= 86400
    client.close()


def _old_items() -> None:
    """One that stays, one with an hour left, one with a day that each read prolongs."""
    StoreItem.objects.all().delete()
    store, now = DjangoStore(), timezone.now()
    for name in ("kept", "short", "long"):
        store.put(("a",), name, {"name": name})
    StoreItem.objects.update(created_at="2020-01-02T03:04:05.678901Z", updated_at="2021-02-03T04:05:06.789Z")
    StoreItem.objects.filter(key="short").update(expires_at=now + timedelta(hours=1))
    StoreItem.objects.filter(key="long").update(expires_at=now + timedelta(days=1), ttl_minutes=1440)


def _times_here() -> list[Any]:
    names = ("key", "created_at", "updated_at", "expires_at", "ttl_minutes")
    return list(StoreItem.objects.order_by("key").values_list(*names))


def test_between_two_others(tmp_path: Path, file: str) -> None:
    first = f"sqlite:///{tmp_path}/first.db"
    saver = open_saver(first)
    written("a", 2)
    transfers.transfer("django", first)
    thread_id = Thread.objects.get().id
    transfers.transfer(first, file)
    assert_same(saver, open_saver(file), thread_id)


def test_it_goes_on_where_it_stopped(file: str) -> None:
    run = written("a", 6)
    seen = 0

    def stop(report: transfer.Report, threads: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfers.transfer("django", file, progress=stop)
    assert len(of_thread(open_saver(file), run.thread_id)) == 3
    oldest = sorted(of_thread(DjangoSaver(), run.thread_id))[:3]
    assert sorted(of_thread(open_saver(file), run.thread_id)) == oldest
    rest = transfers.transfer("django", file)
    assert (rest.there, rest.checkpoints) == (3, Checkpoint.objects.count() - 3)
    assert_same(DjangoSaver(), open_saver(file), run.thread_id)


def test_what_the_source_has_got_since_goes_along(file: str) -> None:
    run = written("a", 2, ask_at=1)
    transfers.transfer("django", file)
    run_now(holdfast.resume(run.id, "yes"))
    transfers.transfer("django", file)
    assert_same(DjangoSaver(), open_saver(file), run.thread_id)


def test_a_dry_run_and_a_choice_of_threads(file: str) -> None:
    one, other = written("a", 1), written("b", 1)
    report = transfers.transfer("django", file, dry_run=True)
    assert (report.threads, report.checkpoints) == (2, Checkpoint.objects.count())
    assert list(open_saver(file).list(None)) == []
    assert transfers.transfer("django", file, threads=[one.thread_id]).threads == 1
    assert open_saver(file).threads() == {one.thread_id}
    assert other.thread_id not in open_saver(file).threads()


def test_a_copy_for_the_archive_leaves_a_thread_where_its_graph_looks_for_it(file: str) -> None:
    run = written("a", 1)
    transfers.transfer("django", file)
    assert Thread.objects.get(id=run.thread_id).backend is None
    written("b", 1, thread=run.thread_id)
    assert notes_of(run.thread_id) == notes("a", 1) + notes("b", 1)


def test_a_thread_that_is_executed_is_left_for_the_next_time(file: str) -> None:
    run = written("a", 1)
    RunRow.objects.filter(id=run.id).update(status="running", holds_thread=True)
    report = transfers.transfer("django", file)
    assert (report.threads, report.in_use) == (0, [run.thread_id])
    assert open_saver(file).threads() == set()


def test_what_is_read_back_otherwise_is_an_error(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = written("a", 2)
    put = InMemorySaver.put

    def forgetful(self: Any, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        values = {name: each for name, each in checkpoint["channel_values"].items() if name != "notes"}
        return put(self, config, {**checkpoint, "channel_values": values}, metadata, new_versions)

    monkeypatch.setattr(InMemorySaver, "put", forgetful)
    with pytest.raises(TransferError, match="read back otherwise: channel_values") as caught:
        transfers.transfer("django", "memory://")
    assert caught.value.thread_id == run.thread_id
    close_backends()


def test_a_source_that_lists_a_part_only_is_an_error_before_anything_is_copied(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Redis does, whose search has an end."""
    run = written("a", 4)
    whole = DjangoSaver.list
    monkeypatch.setattr(DjangoSaver, "list", lambda *given, **more: islice(whole(*given, **more), 3))
    with pytest.raises(TransferError, match="lists only a part"):
        transfers.transfer("django", file)
    assert of_thread(open_saver(file), run.thread_id) == {}


def test_versions_that_are_numbers_become_texts_where_texts_are_used(file: str) -> None:
    """As those of a thread that MongoDB's saver began."""
    saver: Any = open_saver("tests.integration.test_transfer:counting_saver")
    graph = _counting_graph(saver)
    graph.invoke({"notes": ["a"]}, config_for("t"))
    transfers.transfer("tests.integration.test_transfer:counting_saver", file, store=False)
    there = open_saver(file)
    assert _counting_graph(there).invoke({"notes": ["b"]}, config_for("t")) == {
        "notes": ["a", "noted", "b", "noted"]
    }
    transfers.transfer(file, "tests.integration.test_transfer:counting_saver", store=False)
    back = open_saver("tests.integration.test_transfer:counting_saver")
    assert len(_counting_graph(back).invoke({"notes": ["c"]}, config_for("t"))["notes"]) == 6


def counting_saver() -> Any:
    """A saver that has not overridden LangGraph's own form of versions."""

    class Counting(InMemorySaver):
        def get_next_version(self, current: Any, channel: None) -> Any:
            return super(InMemorySaver, self).get_next_version(current, channel)

    return Counting()


def _counting_graph(saver: Any) -> Any:
    from langgraph.graph import START, StateGraph

    from tests.integration.backend_graphs import Notes

    graph = StateGraph(Notes)
    graph.add_node("note", lambda state: {"notes": ["noted"]})
    graph.add_edge(START, "note")
    return graph.compile(checkpointer=saver)


def test_the_command_tells_what_it_did(file: str) -> None:
    run_now(holdfast.enqueue("journal", page("a", 2)))
    asked = ["transfer", "--from", "django", "--to", file]
    tried = CliRunner().invoke(app, [*asked, "--dry-run", "--json"])
    assert json.loads(tried.output)["checkpoints"] == Checkpoint.objects.count()
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "copied" in done.output
    assert "there already" in CliRunner().invoke(app, asked).output
    DjangoStore().put(("a",), "key", {})
    asked[-1] = "tests.integration.backend_servers:own_store"
    said = CliRunner().invoke(app, [*asked, "--only", "store"])
    assert "not kept there" in said.output
    refused = CliRunner().invoke(app, ["transfer", "--from", "memory://", "--to", "django"])
    assert refused.exit_code == 2


def test_a_file_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "mistyped.db"
    refused = CliRunner().invoke(app, ["transfer", "--from", f"sqlite:///{missing}", "--to", "django"])
    assert refused.exit_code == 2
    assert "there is no file" in refused.output
    assert not missing.exists()


def test_ctrl_c_stops_the_command_and_the_same_one_goes_on(file: str, tmp_path: Path) -> None:
    written("a", 40)
    total = Checkpoint.objects.count()
    environment = {**os.environ, "PGDATABASE": connection.settings_dict["NAME"]}
    asked = [
        sys.executable,
        "-m",
        "holdfast.runner.management.command",
        "transfer",
        "--from",
        "django",
        "--to",
        file,
    ]
    began = subprocess.Popen(
        asked,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until(partial(_rows, tmp_path / "other.db"), 30, "the first checkpoint is there")
    began.send_signal(signal.SIGINT)
    _, said = began.communicate(timeout=30)
    assert began.returncode == 130
    assert "the same command goes on" in said
    there = _rows(tmp_path / "other.db")
    assert 0 < there < total
    done = subprocess.run([*asked, "--json"], env=environment, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["checkpoints"] + report["there"] == total
    assert _rows(tmp_path / "other.db") == total


def _rows(path: Path) -> int:
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as there:
        try:
            return int(there.execute("SELECT count(*) FROM checkpoints").fetchone()[0])
        except sqlite3.OperationalError:  # its tables are not made yet
            return 0
