"""Holdfast as a stranger meets it: an installed wheel in a project whose every setting is in the way."""

from __future__ import annotations

import urllib.error
from collections import Counter
from typing import Any

import psutil
import pytest

from tests.acceptance.databases import Database
from tests.acceptance.waiting import until
from tests.project.conftest import Project

pytestmark = pytest.mark.acceptance


def finished(project: Project, run_id: str, timeout: float = 30) -> dict[str, Any]:
    """The run's row once it has ended or asks."""

    def row() -> dict[str, Any] | None:
        found = project.query(f"SELECT row_to_json(r) FROM holdfast_run r WHERE id = '{run_id}'")[0][0]
        return found if found["status"] not in {"queued", "running"} else None

    return until(row, timeout, f"run {run_id} ends; {project.logs()}") or {}


def postgres_connections(project: Project, pids: list[int]) -> dict[int, Counter[str]]:
    """For each process, how many connections it has to each of the project's databases."""
    ports: dict[int, str] = dict(
        project.query("SELECT client_port, datname FROM pg_stat_activity WHERE client_port > 0", Database())
    )
    counts: dict[int, Counter[str]] = {}
    for pid in pids:
        sockets = psutil.Process(pid).net_connections(kind="tcp")
        counts[pid] = Counter(ports[s.laddr.port] for s in sockets if s.laddr.port in ports)
    return counts


def test_the_project_imports_the_installed_wheel(project: Project) -> None:
    origin = project.script(
        "answer = [holdfast.__file__, __import__('graphs').__file__, __import__('runner').__file__]"
    )
    assert "site-packages" in origin[0]
    assert all(str(project.folder) in place for place in origin[1:])


def test_checks_and_migrations_are_quiet(project: Project) -> None:
    assert "no issues" in project.manage("check", "--database", "default", "--database", "second")
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")


def test_app_configs_pin_their_auto_field(project: Project) -> None:
    fields = project.script(
        "from django.apps import apps\n"
        "answer = {c.label: sorted({type(m._meta.pk).__name__ for m in c.get_models() if m._meta.pk.auto_created\n"
        "    or type(m._meta.pk).__name__.endswith('AutoField')}) for c in apps.get_app_configs()}"
    )
    assert fields["runner"] == ["AutoField"]
    assert fields["holdfast_persistence"] == ["BigAutoField"]
    assert set(fields["holdfast_runner"]) <= {"BigAutoField"}


def test_tables_are_where_the_setting_says_and_nowhere_else(project: Project) -> None:
    other = project.second if project.runs == project.default else project.default
    statement = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'holdfast%'"
    assert project.query(statement)[0][0] > 5
    assert project.query(statement, other)[0][0] == 0


def test_a_check_catches_celery_s_default_app(project: Project) -> None:
    done = project.run("manage.py", "check", STRANGER_WITHOUT_CELERY="1")
    assert done.returncode != 0
    assert "Celery's default app is current" in done.stderr


def test_holdfast_configures_no_logging(project: Project) -> None:
    loggers = project.script(
        "import logging, holdfast.runner.tasks, holdfast.runner.broker.transport\n"
        "answer = {n: [len(l.handlers), l.level, l.propagate, l.disabled] for n, l in\n"
        "    logging.root.manager.loggerDict.items() if n.split('.')[0] == 'holdfast' and hasattr(l, 'handlers')}"
    )
    assert len(loggers) > 2
    assert {tuple(state) for state in loggers.values()} == {(0, 0, True, False)}


def test_the_project_s_own_celery_settings_stay_its_own(project: Project) -> None:
    conf = project.script(
        "from stranger.celery import app\nimport holdfast.runner.tasks\napp.finalize()\n"
        "answer = [app.conf.task_time_limit, sorted(app.conf.beat_schedule), app.conf.task_default_queue,\n"
        "    app.conf.task_acks_late, app.conf.result_backend.split(':')[0], app.conf.task_serializer]"
    )
    assert conf == [2, ["count"], "errands", False, "file", "pickle"]


def test_run_now_works_in_the_project_s_own_test_cases(project: Project) -> None:
    out = project.manage("test", "--noinput")
    assert "OK" in out
    assert "Ran 6 tests" in out


def test_p1_a_view_enqueues_beside_its_own_rows(project: Project) -> None:
    project.worker()
    with project.web() as web:
        made = web.post("/orders/")
    row = finished(project, made["run"])
    assert row["status"] == "succeeded", row["error"]
    assert row["version"] == "7"
    order = project.query(
        f"SELECT status, run::text FROM runner_order WHERE id = {made['order']}", project.default
    )
    assert order == [("reserved", made["run"])]


def test_p1_a_rolled_back_request_leaves_nothing(project: Project) -> None:
    def count() -> list[int]:
        tables = ("holdfast_run", "holdfast_thread", "holdfast_broker_message")
        mine = [project.query(f"SELECT count(*) FROM {table}")[0][0] for table in tables]
        return [*mine, project.query("SELECT count(*) FROM runner_order", project.default)[0][0]]

    before = count()
    with project.web() as web:
        with pytest.raises(urllib.error.HTTPError):
            web.post("/orders/", fail="1")
        assert count() == before
        web.post("/orders/")
        assert count() == [number + 1 for number in before]


def test_a_run_outlasts_the_project_s_task_time_limit(project: Project) -> None:
    worker = project.worker(concurrency=1)
    child = worker.children
    with project.web() as web:
        made = web.post("/orders/", seconds="3.5")
    row = finished(project, made["run"])
    assert row["status"] == "succeeded", row["error"]
    assert (row["deliveries"], row["crashes"]) == (1, 0)
    assert worker.children == child


def test_bells_follow_the_project_s_routes_and_leave_no_result(project: Project) -> None:
    with project.web() as web:
        made = web.post("/orders/")
    queues = {queue for (queue,) in project.query("SELECT queue FROM holdfast_broker_message")}
    assert queues == {"slow"}
    worker = project.worker()
    finished(project, made["run"])
    own = project.script("from runner.tasks import count\nanswer = count.delay().get(timeout=20)")
    assert own == project.query("SELECT count(*) FROM runner_order", project.default)[0][0]
    results = [path.name for path in project.results.iterdir()]
    assert len(results) == 1
    assert made["run"] not in results[0]
    assert "STRANGER INFO holdfast" in worker.text or "STRANGER INFO celery" in worker.text
    assert "Traceback" not in worker.text


def test_a_stock_thread_goes_on(project: Project) -> None:
    (before,) = project.query(
        "SELECT count(*), max(checkpoint_id) FROM checkpoints WHERE thread_id = 'stock'"
    )
    assert before[0] > 0
    project.worker()
    with project.web() as web:
        made = web.post("/orders/", thread="stock")
    row = finished(project, made["run"])
    assert row["status"] == "succeeded", row["error"]
    log = project.script(f"answer = holdfast.get('{made['run']}').result['log']")
    assert log[:3] == ["first", "from stock", "enqueued"]


def test_a_question_is_answered_in_the_project_s_admin(project: Project) -> None:
    project.worker()
    with project.web() as web:
        made = web.post("/orders/", ask="1")
    assert finished(project, made["run"])["status"] == "interrupted"
    status = project.script(
        "from django.contrib.auth.models import User\nfrom django.test import Client\n"
        "from holdfast.persistence.models import RunRow\n"
        f"run = '{made['run']}'\n"
        "user = User.objects.filter(username='boss').first() or User.objects.create_superuser('boss')\n"
        "client = Client()\nclient.force_login(user)\nbase = '/admin/holdfast_persistence/'\n"
        "pages = [client.get(base + m + '/').status_code for m in\n"
        "    ('runrow', 'thread', 'effect', 'nodecacheentry', 'checkpointview')]\n"
        "pages.append(client.get(f'{base}runrow/{run}/change/').status_code)\n"
        "question = holdfast.get(run).questions[0].id\n"
        "form = {'action': 'answer_runs', '_selected_action': run, 'holdfast_page': run}\n"
        "pages.append(client.post(base + 'runrow/', form).status_code)\n"
        "form |= {'holdfast_confirmed': '1', f'{run}:{question}': '\"Ada\"'}\n"
        "pages.append(client.post(base + 'runrow/', form).status_code)\nanswer = pages"
    )
    assert status == [200] * 7 + [302]
    row = finished(project, made["run"])
    assert row["status"] == "succeeded", row["error"]
    assert project.script(f"answer = holdfast.get('{made['run']}').result['log'][-1]") == "approved by Ada"


def test_a_web_process_opens_no_connection_but_django_s(project: Project) -> None:
    with project.web() as web:
        for _ in range(3):
            web.post("/orders/")
        aliases = web.get("/orders/connections/")["aliases"]
        (counts,) = postgres_connections(project, [web.pid]).values()
    names = {"default": project.default.name, "second": project.second.name}
    assert counts == Counter(names[alias] for alias in aliases)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_child_has_at_most_three_connections(project: Project, pool: str) -> None:
    """Heartbeat, saver, Django; a process with threads has Django's for each thread, and the broker's."""
    worker_threads = 2
    worker = project.worker(pool=pool, concurrency=worker_threads)
    with project.web() as web:
        made = [web.post("/orders/", seconds="1")["run"] for _ in range(4)]
    most: dict[int, int] = {}

    def all_ended() -> bool:
        for pid, count in postgres_connections(project, [worker.pid, *worker.children]).items():
            most[pid] = max(most.get(pid, 0), count[project.runs.name])
        states = project.query(
            f"SELECT bool_and(status = 'succeeded') FROM holdfast_run WHERE id::text IN ({str(made)[1:-1]})"
        )
        return bool(states[0][0])

    until(all_ended, 30, "all runs end")
    children = worker.children if pool == "prefork" else [worker.pid]
    limit = 3 if pool == "prefork" else 3 + worker_threads
    assert all(0 < most[pid] <= limit for pid in children), most
