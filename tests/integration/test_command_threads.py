"""`holdfast history`, `state` and `fork`: a thread's past on the terminal, in a pipe and for scripts."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

import holdfast
from holdfast.persistence.models import Thread
from holdfast.testing import run_now
from tests import celery_app as _celery_app  # noqa: F401 - a broker that answers
from tests.integration.backend_servers import address, on
from tests.integration.lifecycle import written
from tests.integration.shell import Shell, outside
from tests.integration.test_command_screens import shown, terminal

__all__ = ["address"]
pytestmark = pytest.mark.django_db(transaction=True)
REQUEST = {"request": "a boat", "amount": 3.5}
THREAD = "the harbour's; $(thread)"
ORDERS = "\x1b]0;mine\x07\x1b[2J\x9b31m"


@pytest.fixture
def asked(shell: Shell) -> Any:
    """An answered approval on a thread whose name a shell would take apart."""
    run = run_now(holdfast.enqueue("approval", REQUEST, thread_id=THREAD))
    holdfast.resume(run.id, True)
    return run_now(run)


def checkpoint_that_asked() -> str:
    state = next(state for state in holdfast.history(THREAD) if state.interrupts)
    return str(state.config["configurable"]["checkpoint_id"])


def test_the_history_has_each_checkpoint_newest_first(shell: Shell, asked: Any) -> None:
    known = [state.config["configurable"]["checkpoint_id"] for state in holdfast.history(THREAD)]
    head, *lines = shell("history", THREAD).splitlines()
    assert head.split() == ["checkpoint", "step", "source", "age", "next", "run"]
    assert [line.split()[0] for line in lines] == known
    assert all(line.endswith(str(asked.id)) for line in lines)
    assert "ask (asked)" in lines[known.index(checkpoint_that_asked())]
    facts = shell.json("history", THREAD, "--limit", "2")
    assert [fact["checkpoint_id"] for fact in facts] == known[:2]
    assert facts[0]["parent_checkpoint_id"] == known[1]
    assert facts[0]["run_id"] == str(asked.id)
    assert "values" not in facts[0]
    with_values = shell.json("history", THREAD, "--values")
    assert with_values[0]["values"]["outcome"] == "approved: a boat"
    said = shell("history", THREAD, "--limit", "1", "--values")
    assert "approved: a boat" in said
    assert "There are older ones: --limit 2" in said


@pytest.mark.parametrize("columns", [40, 80, 100, 160])
def test_a_history_loses_nothing_in_a_terminal_of_any_width(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, asked: Any, columns: int
) -> None:
    terminal(monkeypatch, columns)
    said = shell("history", THREAD)
    for part in (checkpoint_that_asked(), "ask (asked)", "grant", str(asked.id)):
        assert part in shown(said)
    assert all(len(shown(line)) <= columns for line in said.splitlines() if "holdfast" not in line)
    to_copy = f"holdfast state {shlex.quote(THREAD)} --checkpoint CHECKPOINT"
    assert any(
        shown(line).endswith(to_copy) for line in said.splitlines()
    )  # a folded one could not be copied


def test_a_runs_own_thread_does_not_repeat_its_id(shell: Shell) -> None:
    run = run_now(holdfast.enqueue("approval", REQUEST))
    assert shell("history", str(run.id)).splitlines()[0].split()[-1] == "next"


def test_a_state_shows_values_and_question_of_its_checkpoint(shell: Shell, asked: Any) -> None:
    now = shell("state", THREAD)
    assert "approved: a boat" in now
    assert "nothing: it has ended" in now
    then = shell("state", THREAD, "--checkpoint", checkpoint_that_asked())
    assert "ask asked" in then
    assert "approved" not in then
    facts = shell.json("state", THREAD, "--checkpoint", checkpoint_that_asked())
    assert (facts["next"], facts["values"]["amount"]) == (["ask"], 3.5)
    assert "a boat" in str(facts["tasks"][0]["interrupts"][0]["value"])


def test_a_fork_says_how_to_go_on_and_that_can_be_copied(shell: Shell, asked: Any) -> None:
    said = shell("fork", THREAD, checkpoint_that_asked(), "--to", "other; $(thread)")
    found = re.search(r"with ask.*?: (holdfast enqueue .*)", said)
    assert found is not None
    assert "over its state: holdfast enqueue approval INPUT --thread" in said
    told = shell(*shlex.split(found[1])[1:])
    again = run_now(holdfast.get(told.split()[0]))
    assert (again.status, again.thread_id) == ("interrupted", "other; $(thread)")
    holdfast.resume(again.id, False)
    assert run_now(again).result["outcome"].startswith("refused")
    assert "branched off" not in shell("history", THREAD)


def test_a_fork_of_what_has_ended_begins_anew(shell: Shell, asked: Any) -> None:
    newest = shell.json("state", THREAD)["checkpoint_id"]
    facts = shell.json("fork", THREAD, newest)
    assert facts["forked_from"] == {"thread_id": THREAD, "checkpoint_id": newest}
    assert (facts["graph"], facts["next"]) == ("approval", [])
    assert Thread.objects.filter(id=facts["thread_id"]).exists()
    assert "To go on" not in shell("fork", THREAD, newest)


@on("sqlite")
def test_threads_elsewhere_have_the_same_commands(address: str, shell: Shell) -> None:
    source = written("a", 2)
    lines = shell("history", source.thread_id).splitlines()
    second = lines[2].split()[0]
    assert shell.json("state", source.thread_id, "--checkpoint", second)["values"]["notes"] == ["a>", "a.0"]
    said = shell("fork", source.thread_id, second, "--to", "branch")
    assert "holdfast enqueue journal --thread branch" in said
    assert shell("history", "branch").splitlines()[1].split()[0] == second


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["history", "nowhere"], "No run has used thread 'nowhere'; `holdfast runs` shows"),
        (["history", ""], "1 to 255 characters"),
        (["history", "a\x1bb"], "no control characters"),
        (["state", THREAD, "--checkpoint", "nope"], "no checkpoint 'nope'; `holdfast history` lists"),
        (["fork", THREAD, ORDERS], "no control characters"),
        (["fork", THREAD, "x" * 500], "1 to 255 characters"),
        (["fork", "nowhere", "x"], "There is no thread 'nowhere'"),
    ],
)
def test_p11_what_is_not_there_is_one_line(shell: Shell, asked: Any, arguments: list[str], says: str) -> None:
    line = shell.refused(*arguments)
    assert says in line
    assert "\x1b" not in line
    assert len(line) < 300


def test_a_thread_that_exists_is_no_target(shell: Shell, asked: Any) -> None:
    assert "exists already" in shell.refused("fork", THREAD, checkpoint_that_asked(), "--to", THREAD)
    assert Thread.objects.count() == 1


def test_what_a_graph_wrote_gives_the_terminal_no_orders(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal(monkeypatch, 100)
    run = run_now(holdfast.enqueue("approval", {"request": f"[bold]{ORDERS}", "amount": 1.0}))
    for arguments in (["state", run.thread_id], ["history", run.thread_id, "--values"]):
        said = shell(*arguments)
        assert "[bold]" in said
        assert not re.search("[\x07\x9b]|\x1b[^\\[]|\x1b\\[2J", said)


def test_a_thread_without_checkpoints_has_none_yet(shell: Shell) -> None:
    run = holdfast.enqueue("approval", REQUEST)
    assert "No checkpoints yet." in shell("history", run.thread_id)
    assert shell.json("history", run.thread_id) == []
    assert "No checkpoints yet." in shell("state", run.thread_id)


def test_no_color_leaves_no_escape(asked: Any) -> None:
    for command in (["history", THREAD], ["state", THREAD]):
        done = outside(*command, FORCE_COLOR="1", NO_COLOR="1", COLUMNS="100")
        assert done.returncode == 0, done.stderr
        assert "\x1b[" not in done.stdout
