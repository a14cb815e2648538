"""The command `holdfast`, on real rows: what it prints for people and for scripts, and how it refuses."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

import holdfast
from holdfast.graphs import registry
from holdfast.persistence import ledger
from holdfast.persistence.ids import parse_run_id
from holdfast.persistence.models import RunRow
from holdfast.persistence.records import StepRecord
from holdfast.persistence.retention import PruneReport
from holdfast.runner import dispatch
from holdfast.runner.management import run_page
from holdfast.testing import run_now
from tests import celery_app as _celery_app  # noqa: F401 - a broker that answers
from tests.integration.shell import Shell, outside, site

pytestmark = pytest.mark.django_db(transaction=True)
REQUEST = '{"request": "a boat", "amount": 3.5}'


def test_a_run_from_enqueue_to_its_result(shell: Shell) -> None:
    accepted = shell.json("enqueue", "approval", REQUEST, "--metadata", '{"by": "test"}')
    assert accepted["status"] == "queued"
    assert accepted["metadata"] == {"by": "test"}

    assert run_now(accepted["id"]).status == "interrupted"
    shown = shell.json("show", accepted["id"])
    assert [question["node"] for question in shown["questions"]] == ["ask"]
    assert "holdfast resume" in shell("show", accepted["id"])

    assert shell.json("resume", accepted["id"], "true")["status"] == "queued"
    run_now(accepted["id"])
    ended = shell.json("watch", accepted["id"])
    assert ended["status"] == "succeeded"
    assert ended["result"]["outcome"] == "approved: a boat"
    assert [step["node"] for step in shell.json("show", accepted["id"])["timeline"]] == [
        "ask",
        "ask",
        "grant",
    ]
    assert "approved: a boat" in shell("show", accepted["id"])


def test_input_comes_from_a_file_or_from_stdin(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "input.json"
    file.write_text(REQUEST)
    assert shell.json("enqueue", "approval", f"@{file}")["input"]["request"] == "a boat"
    monkeypatch.setattr("sys.stdin", io.StringIO(REQUEST))
    assert shell.json("enqueue", "approval", "-")["input"]["request"] == "a boat"


def test_runs_are_listed_newest_first_and_filtered(shell: Shell) -> None:
    first, second = (shell.json("enqueue", "approval", REQUEST)["id"] for _ in range(2))
    assert [run["id"] for run in shell.json("runs")] == [second, first]
    assert shell.json("runs", "--status", "failed") == []
    assert [run["id"] for run in shell.json("runs", "--limit", "1")] == [second]
    assert second in shell("runs", "--graph", "approval")


def test_the_same_key_gives_the_same_run(shell: Shell) -> None:
    first = shell.json("enqueue", "approval", REQUEST, "--key", "k1")
    assert shell.json("enqueue", "approval", REQUEST, "--key", "k1")["id"] == first["id"]
    other = '{"request": "another boat"}'
    assert "k1" in shell.refused("enqueue", "approval", other, "--key", "k1")


def test_due_times_are_durations_or_moments(shell: Shell) -> None:
    later = shell.json("enqueue", "approval", REQUEST, "--run-after", "2h")
    assert later["not_before"] > later["created_at"]
    moment = shell.json("enqueue", "approval", REQUEST, "--run-after", "2100-01-01T00:00:00Z")
    assert moment["not_before"].startswith("2100-01-01T00:00:00")


def test_cancel_and_retry(shell: Shell) -> None:
    run_id = shell.json("enqueue", "approval", REQUEST)["id"]
    assert "approval, cancelled" in shell("cancel", run_id)
    assert ledger.get(parse_run_id(run_id)).status == "cancelled"
    assert run_id in shell.refused("cancel", run_id)
    assert shell.json("watch", run_id, code=1)["status"] == "cancelled"
    assert shell.json("retry", run_id)["status"] == "queued"


def test_cancel_says_when_a_run_that_is_executed_stops(shell: Shell) -> None:
    run_id = shell.json("enqueue", "approval", REQUEST)["id"]
    RunRow.objects.filter(id=run_id).update(status="running", token=uuid4(), renewed_at=datetime.now(UTC))
    said = " ".join(shell("cancel", run_id).split())
    assert "still running: it stops at its next step, and after 10 s in any case" in said
    assert "undone" in shell("cancel", run_id, "--rollback")
    assert shell.json("cancel", run_id)["status"] == "running"


def test_what_a_user_wrote_is_never_markup(shell: Shell) -> None:
    request = '{"request": "[red]not red[/red] [/oops]"}'
    run_id = shell.json("enqueue", "approval", request, "--thread", "[bold]t[/bold]")["id"]
    run_now(run_id)
    assert "[bold]t[/bold]" in shell("runs")
    assert "[/oops]" in shell("show", run_id)


def test_what_a_graph_wrote_gives_the_terminal_no_orders(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = "\x1b]0;title\x07\x1b[2Jgone\x9b31mred\u202edeknuhs\u2066"
    run_id = shell.json("enqueue", "approval", REQUEST)["id"]
    error = {"type": "ValueError", "message": orders, "traceback": orders}
    RunRow.objects.filter(id=run_id).update(
        status="failed", error=error, owner=orders, finished_at=timezone.now()
    )
    for forced in (False, True):
        if forced:
            monkeypatch.setenv("FORCE_COLOR", "1")
        shown = shell("show", run_id)
        assert "gone" in shown
        assert [
            order for order in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e", "\u2066") if order in shown
        ] == []


def test_colours_stay_away_where_nobody_sees_them(shell: Shell) -> None:
    shell.json("enqueue", "approval", REQUEST)
    assert "\x1b" not in shell("runs")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("enqueue", "aproval", "{}"), "approval"),
        (("enqueue", "approval", "{}"), "request"),
        (("enqueue", "approval", REQUEST, "--version", "77"), "77"),
        (("enqueue", "approval", REQUEST, "--thread", ""), "thread"),
        (("enqueue", "approval", REQUEST, "--thread", "x" * 256), "255"),
        (("enqueue", "approval", REQUEST, "--thread", "a\nb"), "control characters"),
        (("enqueue", "approval", REQUEST, "--priority", "99"), "priority"),
        (("enqueue", "approval", REQUEST, "--run-after", "99999d"), "run_after"),
        (("enqueue", "approval", REQUEST, "--deadline", "2001-01-01T00:00:00Z"), "deadline"),
        (("enqueue", "approval", REQUEST, "--key", ""), "idempotency_key"),
        (("enqueue", "approval", REQUEST, "--config", '{"nope": 1}'), "nope"),
        (("enqueue", "approval", REQUEST, "--metadata", '{"a": NaN}'), "metadata"),
        (("show", str(uuid4())), "No run"),
        (("resume", str(uuid4()), "true"), "No run"),
    ],
)
def test_p11_nonsense_is_one_line_and_writes_nothing(
    shell: Shell, arguments: tuple[str, ...], told: str
) -> None:
    assert told.lower() in shell.refused(*arguments).lower()
    assert shell.json("runs") == []


def test_p13_a_run_that_asks_nothing_takes_no_answer(shell: Shell) -> None:
    run_id = shell.json("enqueue", "approval", REQUEST)["id"]
    assert run_id in shell.refused("resume", run_id, "true")
    run_now(run_id)
    assert "nobody-asked" in shell.refused("resume", run_id, "true", "--question", "nobody-asked")


@pytest.mark.parametrize(
    "arguments",
    [
        ("enqueue", "approval", "{not json"),
        ("enqueue", "approval", f'{{"request": "a boat", "amount": {"1" * 5000}}}'),
        ("enqueue", "approval", "[" * 10_000),
        ("enqueue", "approval", "@a\0b"),
        ("enqueue", "approval", "@/nowhere.json"),
        ("enqueue", "approval", REQUEST, "--metadata", "[1]"),
        ("enqueue", "approval", REQUEST, "--run-after", "soon"),
        ("enqueue", "approval", REQUEST, "--run-after", "2100-01-01T00:00:00"),
        ("enqueue", "approval", REQUEST, "--run-after", "-5s"),
        ("enqueue", "approval", REQUEST, "--run-after", "9" * 30 + "d"),
        ("enqueue", "approval", REQUEST, "--strategy", "nope"),
        ("enqueue", "approval", REQUEST, "--no-such-option"),
        ("enqueue",),
        ("runs", "--limit", "0"),
        ("show", "not-an-id"),
        ("runs", "--status", "sleeping"),
        ("watch", str(uuid4()), "--timeout", "-1"),
        ("watch", str(uuid4()), "--timeout", "nan"),
        ("resume", str(uuid4())),
        ("no-such-command",),
    ],
)
def test_a_wrong_argument_is_exit_code_2(shell: Shell, arguments: tuple[str, ...]) -> None:
    assert shell(*arguments, code=2) == ""
    assert shell.stderr.startswith("holdfast")
    assert len(shell.stderr.splitlines()) == 1, shell.stderr


@pytest.mark.parametrize("sent", [b"\xff{}", b""])
def test_what_is_no_json_on_stdin_is_exit_code_2(sent: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "holdfast.runner.management.command", "enqueue", "approval", "-"],
        env={**os.environ, **site(), "PYTHONIOENCODING": "utf-8:strict"},
        input=sent,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert b"stdin" in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "up",
        "demo",
        "enqueue",
        "runs",
        "show",
        "watch",
        "resume",
        "cancel",
        "retry",
        "prune",
        "cache",
        "doctor",
    ],
)
def test_each_command_has_its_help(shell: Shell, name: str) -> None:
    assert "Usage: holdfast " + name in shell(name, "--help")


def test_the_graphs_are_listed_with_what_they_take(shell: Shell) -> None:
    said = shell("graphs")
    assert "approval  version 1  holdfast.graphs.examples.approval\n  request: str, amount?: float" in said
    graphs = {graph["name"]: graph for graph in shell.json("graphs")}
    assert graphs["approval"]["input"]["keys"][0] == {"name": "request", "type": "str", "required": True}
    assert graphs["approval"]["newest"]


def test_a_graph_that_cannot_be_used_says_why_among_those_that_can(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))
    holdfast.register("broken-builder", version="2")(lambda: 1 / 0)
    assert "its builder raised ZeroDivisionError" in shell("graphs")
    found = [graph for graph in shell.json("graphs") if graph["problem"]]
    assert [(graph["name"], graph["input"]) for graph in found] == [("broken-builder", None)]
    assert "approval  version 1" in shell("graphs")


def test_a_prune_says_in_the_log_what_it_deleted_and_nothing_else(
    shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "holdfast.retention"):
        shell("prune", "--dry-run")
        shell("prune")
    assert [record.getMessage() for record in caplog.records] == ["would delete nothing", "deleted nothing"]
    assert str(PruneReport(threads=3, cancel_requests=1, skipped=2)) == (
        "deleted 3 threads, 1 cancel requests; threads in use, left for the next time: 2"
    )


def test_a_dry_prune_counts_and_deletes_nothing(shell: Shell) -> None:
    shell.json("enqueue", "approval", REQUEST)
    counted = shell.json("prune", "--dry-run")
    assert counted
    assert set(counted.values()) <= {0, True}
    assert "would be deleted" in shell("prune", "--dry-run")
    assert len(shell.json("runs")) == 1


def test_the_doctor_says_what_is_missing_and_how_to_mend_it(shell: Shell) -> None:
    findings = {finding["part"]: finding for finding in shell.json("doctor", code=1)}
    assert {"versions", "database", "migrations", "clock", "broker", "workers", "sweep"} <= set(findings)
    assert findings["database"]["verdict"] == findings["migrations"]["verdict"] == "ok"
    assert findings["sweep"]["verdict"] == "wrong"
    assert all(finding["mend"] for finding in findings.values() if finding["verdict"] == "wrong")


def test_ctrl_c_leaves_a_watch_cleanly_and_the_run_going(shell: Shell) -> None:
    run_id = shell.json("enqueue", "approval", REQUEST)["id"]
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast.runner.management.command", "watch", run_id],
        env={**os.environ, **site(), "PYTHONUNBUFFERED": "1", "FORCE_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_sigint,
    )
    assert process.stdout is not None
    while run_id not in process.stdout.readline():  # until it has drawn the run
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert said == f"The run goes on: holdfast watch {run_id}\n"


def _heed_sigint() -> None:
    """A suite that was started in the background of a shell hands SIGINT down as ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("command", ["runs", "prune", "enqueue"])
def test_a_database_that_does_not_answer_is_one_line(command: str) -> None:
    arguments = ["approval", REQUEST] if command == "enqueue" else []
    done = outside(command, *arguments, DATABASE_URL="postgresql://u:s3cret@127.0.0.1:1/nowhere")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("drop", "env", "told"),
    [
        (("DATABASE_URL",), {}, "DATABASE_URL is not set"),
        ((), {"DATABASE_URL": "postgresql://u:s3cret@127.0.0.1:1/nowhere"}, "does not answer"),
        ((), {"DATABASE_URL": "sqlite:///x"}, "is not PostgreSQL's"),
        (("SECRET_KEY",), {}, "SECRET_KEY is not set"),
    ],
)
def test_a_wrong_environment_is_one_line(drop: tuple[str, ...], env: dict[str, str], told: str) -> None:
    done = outside("runs", drop=drop, **env)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert told in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize("arguments", [("runs",), ("enqueue", "approval", REQUEST), ("prune",)])
def test_an_alias_that_is_not_there_is_one_line(
    shell: Shell, settings: Any, arguments: tuple[str, ...]
) -> None:
    settings.HOLDFAST = {**settings.HOLDFAST, "DATABASE": "othr"}
    told = shell.refused(*arguments)
    assert "'othr', and DATABASES has no such alias" in told


def test_a_mistyped_setting_is_told_what_was_meant(shell: Shell, settings: Any) -> None:
    settings.HOLDFAST = {**settings.HOLDFAST, "RETENTON": {}}
    assert "has no entry 'RETENTON'; did you mean 'RETENTION'? It knows " in shell.refused("runs")


def test_a_broker_whose_python_package_is_missing_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "find_spec", lambda name: None)
    for url in ("redis://localhost:6379/0", "rediss://h", "sentinel://h"):
        assert "pip install 'holdfast[redis]'" in (dispatch.missing_client(url) or "")
    assert dispatch.missing_client("amqp://localhost") is None
    assert dispatch.missing_client("holdfast://default") is None


@pytest.fixture(scope="module")
def empty(django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    """The URL of a database without tables."""
    name = f"hf_empty_{uuid4().hex}"  # of these tests alone, also where several suites share a server
    with django_db_blocker.unblock():
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{name}"')
        yield site()["DATABASE_URL"].replace(f"/{connection.settings_dict['NAME']}?", f"/{name}?")
        with connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs",),
        ("enqueue", "approval", REQUEST),
        ("enqueue", "approval", REQUEST, "--strategy", "reject"),
        ("prune",),
    ],
)
def test_a_database_that_is_not_migrated_is_one_line(empty: str, arguments: tuple[str, ...]) -> None:
    done = outside(*arguments, DATABASE_URL=empty)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("holdfast: The database 'default' has no Holdfast tables")
    assert "Run: manage.py migrate" in done.stderr


def test_in_python_too_a_database_that_is_not_migrated_is_one_error(empty: str) -> None:
    code = (
        "import django; django.setup(); import holdfast; holdfast.enqueue('approval', {'request': 'a boat'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **site(DATABASE_URL=empty)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.count("Traceback") == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("holdfast.errors.NotMigratedError: ")
    assert "could not" not in done.stderr


def test_the_doctor_calls_no_database_sound_that_takes_no_writes(empty: str) -> None:
    done = outside("doctor", "--json", DATABASE_URL=empty, PGOPTIONS="-c default_transaction_read_only=on")
    (found,) = [finding for finding in json.loads(done.stdout) if finding["part"] == "database"]
    assert found["verdict"] == "wrong"
    assert "may only read" in found["detail"]
    assert "default_transaction_read_only" in found["mend"]


def test_the_doctor_calls_no_broker_sound_whose_tables_are_missing(empty: str) -> None:
    done = outside("doctor", "--json", DATABASE_URL=empty)
    found = {finding["part"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    assert found["migrations"]["verdict"] == found["broker"]["verdict"] == "wrong"
    assert found["workers"]["verdict"] == "skipped"


def test_the_doctor_names_an_app_that_celery_finds() -> None:
    done = outside("doctor", "--json", BROKER_URL="memory://")
    workers = next(finding for finding in json.loads(done.stdout) if finding["part"] == "workers")
    module = workers["mend"].partition("celery -A ")[2].split()[0]
    code = f"from celery.app.utils import find_app; print(find_app({module!r}).main)"
    found = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **site()}, capture_output=True, check=False
    )
    assert found.stdout == b"holdfast\n", found.stderr


def test_in_a_project_without_a_celery_app_the_doctor_says_so_and_nothing_that_cannot_work(
    tmp_path: Path,
) -> None:
    (tmp_path / "inlet.py").write_text(
        "from holdfast.runner.site.environment import databases\n"
        "DATABASES = databases()\n"
        "SECRET_KEY = 'x'\n"
        "INSTALLED_APPS = ['holdfast.persistence', 'holdfast.runner']\n"
    )
    env = {**os.environ, **site(DJANGO_SETTINGS_MODULE="inlet")}
    command = [sys.executable, "-m", "holdfast.runner.management.command", "doctor", "--json"]
    env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{Path(__file__).resolve().parents[2]}"
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    found = {finding["part"]: finding for finding in json.loads(done.stdout)}
    assert "Celery app" in found["settings"]["mend"]
    assert [part for part, finding in found.items() if finding["verdict"] == "skipped"] == [
        "broker", "workers", "sweep",
    ]  # fmt: skip
    assert "celery -A" not in done.stdout


@pytest.mark.parametrize("as_json", [False, True])
def test_a_watch_that_runs_out_of_time_shows_what_is_known(shell: Shell, as_json: bool) -> None:
    run_id = shell.json("enqueue", "approval", REQUEST)["id"]
    command = ("watch", run_id, "--timeout", "0.2")
    if as_json:
        assert shell.json(*command, code=124)["status"] == "queued"
    else:
        assert "queued" in shell(*command, code=124)
    assert shell.stderr.startswith(f"holdfast: Run {run_id} is still queued after 0.2 s; ")
    assert len(shell.stderr.splitlines()) == 1


def test_traceback_is_there_when_asked_for() -> None:
    done = outside("runs", "--traceback", drop=("DATABASE_URL",))
    assert "Traceback" in done.stderr


def test_manage_py_has_the_same_command() -> None:
    manage = Path(__file__).resolve().parents[2] / "manage.py"
    done = subprocess.run(
        [sys.executable, str(manage), "holdfast", "runs", "--json"],
        env={**os.environ, **site()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout) == [], done.stderr


def test_the_settings_of_a_project_are_found_in_the_folder_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "harbour.py").write_text("from holdfast.runner.site.settings import *\n")
    env = {**os.environ, **site(DJANGO_SETTINGS_MODULE="harbour")}
    env["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    command = [
        sys.executable, "-c", "from holdfast.runner.management.command import main; main()", "runs", "--json",
    ]  # fmt: skip
    # Without the folder that -c puts on the path, as the installed command does not have it either.
    found = subprocess.run(
        [command[0], "-P", *command[1:]], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert json.loads(found.stdout) == [], found.stderr
    lost = subprocess.run(
        [command[0], "-P", *command[1:]], env=env, capture_output=True, text=True, check=False
    )
    assert lost.returncode == 1
    assert "there is no such module here" in lost.stderr
    assert len(lost.stderr.strip().splitlines()) == 1, lost.stderr


def test_the_command_tells_its_version(shell: Shell) -> None:
    assert shell("--version") == f"holdfast {holdfast.__version__}\n"


def test_a_question_is_shown_only_while_it_is_asked(shell: Shell) -> None:
    run_id = shell.json("enqueue", "approval", REQUEST)["id"]
    run_now(run_id)
    assert f"holdfast resume {run_id} ANSWER" in shell("show", run_id)
    shell("resume", run_id, "true")
    assert "holdfast resume" not in shell("show", run_id)


def test_a_step_that_died_with_its_process_is_told_as_lost() -> None:
    def step(delivery: int, outcome: str) -> StepRecord:
        now = datetime.now(UTC)
        return StepRecord(
            run_id=uuid4(),
            delivery=delivery,
            step=1,
            node="work",
            task_id="t",
            namespace="",
            owner="here:1",
            started_at=now,
            finished_at=None if outcome == "running" else now,
            outcome=outcome,
        )

    def outcomes(*steps: StepRecord) -> list[str]:
        return [str(cell) for cell in run_page.timeline(steps).columns[-1].cells]

    assert outcomes(step(1, "done"), step(1, "running")) == ["done", "running"]
    assert outcomes(step(1, "running"), step(2, "done"), step(2, "running")) == ["lost", "done", "running"]
