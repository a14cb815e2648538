"""The harness itself: what other tests conclude from it must be so."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.acceptance.brokers import BROKERS, Broker, every_broker
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage, marked

on_redis = pytest.mark.parametrize("broker", ["redis"], indirect=True, scope="module")


@on_redis
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_worker_is_ready_and_has_the_children_of_its_pool(stage: Stage, pool: str) -> None:
    worker = stage.worker(pool=pool, concurrency=2)
    assert len(worker.children) == (2 if pool == "prefork" else 0)
    worker.term()
    assert worker.wait_end() == 0


@on_redis
def test_a_killed_child_is_gone_and_its_parent_lives(stage: Stage) -> None:
    worker = stage.worker()
    dead = worker.kill_child()
    until(lambda: dead not in worker.children and len(worker.children) == 2, 10, "the pool is full again")
    assert worker.alive


@on_redis
def test_a_stopped_worker_stands_still_until_it_is_continued(stage: Stage) -> None:
    worker = stage.worker()
    family = [worker.pid, *worker.children]
    worker.stop()
    assert {psutil.Process(pid).status() for pid in family} == {psutil.STATUS_STOPPED}
    worker.cont()
    until(lambda: all(psutil.Process(p).status() != psutil.STATUS_STOPPED for p in family), 5, "they go on")


@on_redis
def test_killing_a_worker_leaves_no_process_behind(stage: Stage) -> None:
    worker = stage.worker()
    worker.stop()
    worker.kill()
    assert worker.wait_end() == -signal.SIGKILL
    until(lambda: not marked(), 5, "nothing is left")


@on_redis
def test_a_worker_dies_with_the_process_that_started_it(stage: Stage) -> None:
    code = (
        "import os, signal, pathlib\n"
        "from tests.acceptance.workers import Worker\n"
        f"worker = Worker(environment=os.environ, log=pathlib.Path({str(stage.directory)!r}) / 'orphan.log')\n"
        "worker.wait_ready()\n"
        "print(worker.pid, *worker.children, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = stage.script(code)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 3, done.stderr
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 5, "parent and children are gone")


@on_redis
def test_an_unmet_condition_is_reported_with_its_reason(stage: Stage) -> None:
    with pytest.raises(AssertionError, match=r"(?s)not within 0\.05 s: pigs fly.*last answer: False.*runs:"):
        until(lambda: False, 0.05, "pigs fly")


def test_a_missing_service_skips_on_a_laptop_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.acceptance.brokers import absent

    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        absent("Redis", "refused")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        absent("Redis", "refused")


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"], indirect=True, scope="module")
def test_the_broker_forgets_everything(stage: Stage, broker: Broker) -> None:
    from celery import current_app

    for number in range(3):
        current_app.send_task("nobody.knows", (number,))
    until(lambda: broker.messages() == 3, 5, "three messages wait")
    broker.lose_everything()
    assert broker.messages() == 0
    assert os.environ.get("PGDATABASE") != stage.database.name
    assert set(BROKERS) == set(every_broker.args[1])
