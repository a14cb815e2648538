"""Each finding of the doctor's, on what it is about: real workers, a standby, a server and packages that are too old."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace

import pytest
from django.db import connections

from holdfast.runner.management.doctor import Finding, examine, project
from tests.acceptance.apps import celery_uses
from tests.acceptance.brokers import Broker
from tests.acceptance.databases import ROOT, Database, django_uses
from tests.acceptance.test_broker_down import DownBroker, closed_port
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage
from tests.servers import PrivatePostgres, private_postgres

__all__ = ["private_postgres"]


def findings() -> dict[str, Finding]:
    return {finding.part: finding for finding in examine()}


def test_with_a_worker_all_is_well(stage: Stage) -> None:
    stage.worker(concurrency=2)
    until(lambda: project.database().verdict == "ok" and findings()["sweep"].verdict == "ok", 30, "they beat")
    found = findings()
    found.pop("settings")  # of a Celery app that only rings: told by W101
    assert {finding.verdict for finding in found.values()} == {"ok"}, found
    assert "1 answered: " in found["workers"].detail
    assert found["sweep"].detail == "2 worker processes beat and sweep"
    assert found["broker"].detail == "holdfast://default, 0 messages in the queue 'celery'"


def test_a_worker_of_another_queue_is_told_with_what_to_do(stage: Stage) -> None:
    worker = stage.worker(concurrency=1, queues=("errands",))
    found = findings()
    assert found["workers"].verdict == "wrong"
    assert f"{worker.nodename}: none consumes the queue 'celery'" in found["workers"].detail
    assert "-Q celery" in found["workers"].mend


def test_a_broker_that_is_down_is_told_and_the_workers_are_not_looked_at(stage: Stage) -> None:
    with closed_port() as port, celery_uses(DownBroker(f"redis://:s3cret@127.0.0.1:{port}/0")):
        found = findings()
    assert (found["broker"].verdict, found["workers"].verdict) == ("wrong", "skipped")
    assert "BROKER_URL" in found["broker"].mend
    assert "s3cret" not in str(found)


def test_a_queue_that_nobody_has_made_is_told(stage: Stage, broker: Broker) -> None:
    with celery_uses(SimpleNamespace(url="memory://", queue="not-there-yet")):
        assert findings()["broker"].detail.endswith("no worker has made the queue 'not-there-yet' yet")


@pytest.mark.parametrize(("seconds", "says"), [(10, "ahead of"), (-10, "behind")])
def test_a_clock_that_goes_wrong_is_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, seconds: float, says: str
) -> None:
    monkeypatch.setattr(project, "time", SimpleNamespace(time=lambda: time.time() + seconds))
    found = project.clock()
    assert found.verdict == "warning"
    assert f"s {says} the database's" in found.detail
    assert "time server" in found.mend


def test_a_package_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_kombu(name: str) -> str:
        if name == "kombu":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(project, "version", without_kombu)
    found = project.versions()
    assert (found.verdict, found.mend) == ("wrong", "pip install kombu")
    assert "kombu missing" in found.detail


def test_a_server_that_is_too_old_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "OLDEST_SERVER", 990000)
    found = project.database()
    assert (found.verdict, found.mend) == ("wrong", "use PostgreSQL 13 or newer")


def test_a_standby_is_told(stage: Stage, private_postgres: PrivatePostgres) -> None:
    server = Database(host="127.0.0.1", port=str(private_postgres.port), user="postgres", password="")
    private_postgres.become_standby()
    with django_uses(server):
        found = findings()
        connections.close_all()
    assert found["database"].verdict == "wrong"
    assert "a standby, which takes no writes" in found["database"].detail
    assert "primary" in found["database"].mend
    assert found["migrations"].verdict == found["clock"].verdict == "skipped"


def test_celery_s_own_commands_say_nothing_about_django(stage: Stage) -> None:
    """They import the app and set nothing up; the health check of docker-compose.yml is one of them."""
    worker = stage.worker(concurrency=1)
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "tests.acceptance.site.celery:app"]
    done = subprocess.run(
        [*command, "inspect", "ping", "-d", worker.nodename, "-t", "10"],
        env=stage.environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "pong" in done.stdout
