"""``rotate-keys`` and ``doctor --types``, as a person and a script use them."""

from __future__ import annotations

import json
import os
import pickle
import pty
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any, TypedDict
from uuid import uuid4

import ormsgpack
import pytest
from django.db import connection
from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_POS_ARGS
from langgraph.graph import START, StateGraph

import holdfast
from holdfast.persistence import DjangoStore
from holdfast.testing import run_now
from tests.extras import extra
from tests.integration.encrypting import KEYS, encryption, sealed_under
from tests.integration.shell import Shell, site

extra("cryptography")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def items(count: int) -> None:
    store = DjangoStore()
    for number in range(count):
        store.put(("a",), f"k{number}", {"n": number})


def test_rotating_says_what_it_did_and_which_keys_can_go(shell: Shell, settings: Any) -> None:
    settings.HOLDFAST = encryption("a")
    items(3)
    settings.HOLDFAST = encryption("b", "a", "b")
    assert shell.json("rotate-keys", "--dry-run") == {
        "active": "b",
        "stored": [{"column": "store.value", "key": "a", "values": 3}],
        "unused_keys": ["b"],
    }
    said = shell("rotate-keys")
    assert "the key a is in use nowhere" in said
    report = shell.json("rotate-keys")
    assert (report["total"], report["busy"], report["failed"]) == (0, 0, 0)
    assert report["stored"] == [{"column": "store.value", "key": "b", "values": 3}]
    assert report["unused_keys"] == ["a"]


def test_a_value_that_does_not_open_is_exit_code_1_and_names_the_key(shell: Shell, settings: Any) -> None:
    settings.HOLDFAST = encryption("a")
    items(1)
    settings.HOLDFAST = encryption("b", "b")
    assert "'a'" in shell("rotate-keys", code=1)
    report = shell.json("rotate-keys", code=1)
    assert (report["failed"], report["failures"][0]["row"]) == (1, "a k0")


def test_ctrl_c_stops_between_two_transactions_and_the_next_time_goes_on(settings: Any) -> None:
    settings.HOLDFAST = encryption("a")
    items(200)
    environment = {
        **os.environ,
        **site(HOLDFAST_ENCRYPTION_KEYS=f"b:{KEYS['b']},a:{KEYS['a']}"),
    }
    leader, follower = pty.openpty()  # where a person sees the progress
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "holdfast.runner.management.command",
            "rotate-keys",
            "--batch",
            "2",
            "--pause",
            "0.05",
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=follower,
        text=True,
    )
    os.close(follower)
    deadline = time.monotonic() + 60
    while sealed_under().get("b", 0) < 10 and time.monotonic() < deadline:
        time.sleep(0.05)  # polls for the process's progress
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    seen = b""
    try:
        while chunk := os.read(leader, 65536):
            seen += chunk
    except OSError:  # what reading a terminal whose other end is closed raises
        pass
    os.close(leader)
    assert b"rewriting" in seen
    assert b"rotate-keys goes on from there" in seen
    left = sealed_under()
    assert 10 <= left["b"] < 200
    assert left["a"] + left["b"] == 200
    again = subprocess.run(
        [sys.executable, "-m", "holdfast.runner.management.command", "rotate-keys", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(again.stdout)["rewritten"]["store"] == left["a"]
    assert sealed_under() == {"b": 200}


@dataclass
class Hidden:
    """Allowed for the graph that names it, and for nothing else."""

    word: str


class State(TypedDict, total=False):
    hidden: Hidden
    word: str


@pytest.mark.parametrize("active", [None, "a"])
def test_p12_doctor_lists_the_stored_types_and_who_would_not_load_them(
    shell: Shell, settings: Any, active: str | None
) -> None:
    settings.HOLDFAST = encryption(active)
    name = f"types-{uuid4().hex}"
    builder = StateGraph(State)
    builder.add_node("one", lambda state: {"word": "x"})
    builder.add_edge(START, "one")
    holdfast.register(name, version="1")(lambda: builder)
    run = run_now(holdfast.enqueue(name, {"hidden": Hidden("x")}))
    assert run.status == "succeeded"
    hidden = f"{__name__}.Hidden"
    (found,) = [each for each in shell.json("doctor", "--types") if each["name"] == hidden]
    assert (found["allowed"], found["refused"]) == ("graph", [])
    assert 'state["hidden"]' in found["places"]
    assert hidden in shell("doctor", "--types")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE holdfast_run SET graph = 'forgotten' WHERE id = %s", [run.id])
        cursor.execute(
            "INSERT INTO checkpoint_blobs VALUES ('stock', '', 'frame', '1', 'pickle', %s)", [pickle.dumps(1)]
        )
    types = {each["name"]: each for each in shell.json("doctor", "--types", code=1)}
    assert types[hidden]["refused"] == ["forgotten 1"]
    assert (types["pickle"]["refused"], types["pickle"]["places"]) == (["-"], ['state["frame"]'])
    settings.HOLDFAST = encryption(active) | {"SERIALIZABLE": [hidden]}
    types = {each["name"]: each for each in shell.json("doctor", "--types", code=1)}
    assert types[hidden]["allowed"] == "SERIALIZABLE"


def test_the_types_keep_all_columns_and_whole_names_in_a_narrow_terminal(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "harbour_master.digests.of_the_week.models." + "WeeklyDigestOfTheHarbourMaster" * 2
    packed = ormsgpack.packb([*kind.rsplit(".", 1), []])
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO checkpoint_blobs VALUES ('t', '', 'c', '1', 'msgpack', %s)",
            [ormsgpack.packb(ormsgpack.Ext(EXT_CONSTRUCTOR_POS_ARGS, packed))],
        )
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shell("doctor", "--types", code=1).splitlines()]
    (head,) = (number for number, line in enumerate(lines) if line.split()[:1] == ["type"])
    assert lines[head].split() == ["type", "values", "loaded", "found", "in"]
    assert all(len(line) <= 80 for line in lines)
    edge = lines[head].index("values") - 2
    assert "".join(line[:edge].strip() for line in lines[head + 1 :]).startswith(kind)
    assert re.search(r" 1  NOT for", lines[head + 1])


def test_p12_doctor_counts_what_it_cannot_open(shell: Shell, settings: Any) -> None:
    settings.HOLDFAST = encryption("a")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO checkpoint_blobs VALUES ('t', '', 'c', '1', 'msgpack+xaes256gcm:z', '\\x00')"
        )
        cursor.execute("INSERT INTO checkpoint_blobs VALUES ('t', '', 'd', '1', 'msgpack', '\\xc1')")
    names = {each["name"] for each in shell.json("doctor", "--types", code=1)}
    assert any("'z'" in name for name in names)
    assert any("not what their type 'msgpack' says" in name for name in names)
