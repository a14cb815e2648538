"""What the command's screens look like: in a terminal of any width, in a pipe, without colours, after a failure."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from rich.console import Console
from rich.text import Text

import holdfast
from holdfast.persistence.models import RunRow, Step
from holdfast.runner.management import display
from holdfast.testing import run_now
from tests import celery_app as _celery_app  # noqa: F401 - a broker that answers
from tests.integration.shell import Shell, outside

pytestmark = pytest.mark.django_db(transaction=True)
REQUEST = {"request": "a boat", "amount": 3.5}
LONG = "the-weekly-digest-of-the-harbour-master-" * 3


class Price(TypedDict, total=False):
    item: str


def _look_up(price: Price) -> Price:
    return {"item": {"rope": "3"}[json.loads(price["item"])]}


@pytest.fixture
def failed() -> Any:
    """A run of a graph of this file, which failed."""

    def build() -> Any:
        graph = StateGraph(Price)
        graph.add_node("look_up", _look_up)
        graph.add_edge(START, "look_up")
        graph.add_edge("look_up", END)
        return graph

    holdfast.register("fails-in-a-node")(build)
    run = holdfast.enqueue("fails-in-a-node", {"item": "no json"})
    return run_now(run)


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))


def shown(text: str) -> str:
    """Without colours, and what was folded in one line again."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\n", "")


@pytest.mark.parametrize("columns", [40, 80, 120, 300])
def test_a_list_of_runs_loses_nothing_in_a_terminal_of_any_width(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    terminal(monkeypatch, columns)
    run = holdfast.enqueue("approval", REQUEST, thread_id=LONG)
    run_now(run)
    RunRow.objects.filter(id=run.id).update(deliveries=7)
    said = shell("runs")
    for part in (str(run.id), "approval", "interrupted", "7", LONG):
        assert part in shown(said)
    assert all(len(shown(line)) <= columns for line in said.splitlines())


@pytest.mark.parametrize("columns", [80, 100])
def test_a_timeline_with_long_names_keeps_all_its_columns(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    terminal(monkeypatch, columns)
    run = run_now(holdfast.enqueue("approval", REQUEST))
    Step.objects.filter(run_id=run.id).update(node=LONG, owner=f"worker@{LONG}:4711")
    lines = [shown(line) for line in shell("show", str(run.id)).splitlines()]
    (at,) = (number for number, line in enumerate(lines) if line.split()[:1] == ["step"])
    assert lines[at].split() == ["step", "node", "delivery", "process", "took", "outcome"]
    assert re.fullmatch(r" *\d+  the-w\S*…  +1  worker\S*…  +[\d.]+ s  interrupted *", lines[at + 1])


def test_of_a_picture_taller_than_the_screen_nothing_stays(capsys: pytest.CaptureFixture[str]) -> None:
    out = Console(force_terminal=True, width=40, height=5, color_system=None)
    tall = Text("\n".join(f"line {number}" for number in range(12)))
    with display.passing(out) as live:
        for _ in range(2):
            live.update(tall, refresh=True)
    written = capsys.readouterr().out
    assert "line 3" in written, "what has room is shown"
    assert "line 11" not in written, "a line that scrolls away cannot be taken back"


def test_the_doctor_names_each_part_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("checkpointer", "migrations"):
        display.console().print(display.finding_line(part, "wrong", "the detail", "the mend"))
        assert f"{part} " in capsys.readouterr().out


def test_what_goes_into_a_pipe_is_not_cut(shell: Shell) -> None:
    run = holdfast.enqueue("approval", REQUEST, thread_id=LONG)
    head, line = shell("runs").splitlines()
    assert head.split() == ["id", "graph", "status", "age", "took", "thread"]
    assert line.split()[:3] == [str(run.id), "approval", "queued"]
    assert line.split()[-1] == LONG
    assert LONG in shell("show", str(run.id))


def test_columns_appear_where_they_tell_something(shell: Shell) -> None:
    run = holdfast.enqueue("approval", REQUEST)
    assert shell("runs").splitlines()[0].split() == ["id", "graph", "status", "age", "took"]
    RunRow.objects.filter(id=run.id).update(deliveries=2)
    assert "deliveries" in shell("runs").splitlines()[0]


def test_a_failed_run_names_its_line_and_what_to_do(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, failed: Any
) -> None:
    line = _look_up.__code__.co_firstlineno + 1
    place = f"at {__file__}:{line}, in _look_up"
    for said in (shell("show", str(failed.id)), shell("watch", str(failed.id), code=1)):
        assert "json.decoder.JSONDecodeError: Expecting value" in said
        assert place in said
        assert f"holdfast retry {failed.id}" in said
        assert f"holdfast show {failed.id} --json" in said
    error = shell.json("show", str(failed.id))["error"]
    assert error["where"] in place
    assert "Traceback" in error["traceback"]
    terminal(monkeypatch, 80)  # a command that is folded cannot be copied
    assert f"holdfast show {failed.id} --json" in shell("show", str(failed.id))
    assert f"holdfast retry {failed.id}" in shell("show", str(failed.id))


@pytest.mark.parametrize("arguments", [("runs",), ("show", "{id}"), ("enqueue", "--help")])
def test_no_color_takes_bold_and_dim_away_too(failed: Any, arguments: tuple[str, ...]) -> None:
    command = [argument.format(id=failed.id) for argument in arguments]

    def said(**env: str) -> str:
        done = outside(*command, FORCE_COLOR="1", COLUMNS="120", **env)
        return done.stdout + done.stderr

    assert "\x1b[" in said()
    assert "\x1b[" not in said(NO_COLOR="1")


def test_an_answer_that_is_no_json_is_told_how_to_be_one(shell: Shell) -> None:
    run = holdfast.enqueue("approval", REQUEST)
    run_now(run)
    shell("resume", str(run.id), "it's fine", code=2)
    option, answer = shlex.split(shell.stderr.partition("for plain text: ")[2])
    assert (option, answer) == ("--text", "it's fine")
    shell("resume", str(run.id), option, answer)
    asked = run_now(run.id).questions[0].value["unclear"]
    assert asked.startswith('The answer "it\'s fine" is neither yes nor no')


def test_an_unclear_answer_is_quoted_as_the_json_that_was_given(shell: Shell) -> None:
    run = holdfast.enqueue("approval", REQUEST)
    run_now(run)
    shell("resume", str(run.id), '{"approved": null, "note": "später"}')
    asked = run_now(run.id).questions[0].value["unclear"]
    assert '{"approved": null, "note": "später"}' in asked
