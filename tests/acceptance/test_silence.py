"""P8: a worker whose own means are stuck, its way to the database or its interpreter, does not stay so for ever."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import holdfast
from holdfast.persistence.models import RunStatus
from tests.acceptance.asking import stubborn as stubborn  # registers its graphs here too
from tests.acceptance.proxies import Proxy
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage

SHORT: dict[str, Any] = {"LEASE": 4.0, "IDLE_IN_TRANSACTION": 2.0, "GRACE": 2.0}


@pytest.mark.parametrize(("pool", "hearts"), [("prefork", 2), ("threads", 1)])
def test_p8_a_worker_serves_again_after_its_database_connections_fell_silent(
    stage: Stage, tmp_path: Path, pool: str, hearts: int
) -> None:
    """Nobody ends them: as behind a firewall that has forgotten them. The broker is reached by another way."""
    place = stage.database
    broker = f"holdfast+postgresql://{place.user}:{place.password}@{place.host}:{place.port}/{place.name}"
    with Proxy(place.host, int(place.port)) as proxy:
        way = {"PGHOST": "127.0.0.1", "PGPORT": str(proxy.port), "BROKER_URL": broker}
        stage.worker(pool=pool, concurrency=2, holdfast=SHORT, extra=way)
        first = holdfast.wait(holdfast.enqueue("long_steps", {"steps": 1}).id, timeout=30)
        assert first.status is RunStatus.SUCCEEDED
        log, gate = tmp_path / "log", tmp_path / "gate"
        caught = holdfast.enqueue("stubborn.patient", {"log": str(log), "gate": str(gate)})
        until(log.exists, 30, "one run is executed")
        proxy.silent.set()
        gate.touch()  # what it writes now is swallowed
        until(lambda: holdfast.get(caught.id).status is RunStatus.RUNNING, 5, "nothing arrives")
        holdfast.enqueue("long_steps", {"steps": 1})  # whoever takes its bell has no heartbeat
        until(lambda: proxy.swallowed > hearts, 30, "heartbeats and saver are silent")
        proxy.silent.clear()
        for run in holdfast.runs():
            ended = holdfast.wait(run.id, timeout=60)
            assert ended.status is RunStatus.SUCCEEDED, ended.error


def test_p1_a_statement_of_the_saver_that_is_never_answered_is_repeated(stage: Stage, tmp_path: Path) -> None:
    """Only its connection is silent; the heartbeat's is well, and renews the lease."""
    place = stage.database
    with Proxy(place.host, int(place.port)) as proxy:
        stage.worker(concurrency=1, holdfast=SHORT, extra={"PGHOST": "127.0.0.1", "PGPORT": str(proxy.port)})
        log, gate = tmp_path / "log", tmp_path / "gate"
        run = holdfast.enqueue("stubborn.patient", {"log": str(log), "gate": str(gate)})
        until(log.exists, 30, "it executes")
        proxy.lose = b'"channel_values"'  # of the next checkpoint
        gate.touch()
        ended = holdfast.wait(run.id, timeout=60)
        assert proxy.swallowed == 1
    assert ended.status is RunStatus.SUCCEEDED
    assert (ended.deliveries, ended.crashes) == (1, 0)
    assert len(log.read_text().split()) == 1


def test_p9_a_node_that_holds_the_interpreter_is_set_aside_and_gives_its_place_back(
    stage: Stage, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    worker = stage.worker(concurrency=1, holdfast=SHORT)
    sweeper = stage.worker(concurrency=1, holdfast=SHORT, queues=("elsewhere",))
    greedy = holdfast.enqueue("stubborn.greedy", {"log": str(log)})
    ended = holdfast.wait(greedy.id, timeout=120)
    assert ended.status is RunStatus.FAILED
    assert ended.error is not None
    assert ended.error["type"] == "WorkerDied"
    assert len(log.read_text().split()) == 3
    healthy = holdfast.wait(holdfast.enqueue("long_steps", {"steps": 1}).id, timeout=60)
    assert healthy.status is RunStatus.SUCCEEDED
    assert worker.alive
    assert sweeper.alive


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_p9_the_one_process_of_a_pool_ends_where_a_node_holds_its_interpreter(
    stage: Stage, tmp_path: Path, pool: str
) -> None:
    worker = stage.worker(pool=pool, concurrency=1, holdfast=SHORT)
    psutil.Process(worker.pid).cpu_affinity([0])  # the time that it has is that of each of its processors
    greedy = holdfast.enqueue("stubborn.greedy", {"log": str(tmp_path / "log")})
    assert worker.wait_end(timeout=120) == -signal.SIGPROF
    assert "stubborn.py" in worker.text, "it says where"
    assert holdfast.get(greedy.id).status is not RunStatus.SUCCEEDED


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_p2_the_one_process_of_a_pool_is_not_ended_for_having_been_stopped(stage: Stage, pool: str) -> None:
    worker = stage.worker(pool=pool, concurrency=1, holdfast=SHORT)
    worker.stop()
    time.sleep(SHORT["LEASE"] + SHORT["GRACE"] + 1)  # longer than it has; nothing else happens meanwhile
    worker.cont()
    run = holdfast.wait(holdfast.enqueue("long_steps", {"steps": 1}).id, timeout=60)
    assert run.status is RunStatus.SUCCEEDED
    assert worker.alive


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_r8_the_one_process_of_a_pool_has_one_heartbeat(stage: Stage, pool: str) -> None:
    stage.worker(pool=pool, concurrency=1)
    run = holdfast.wait(holdfast.enqueue("long_steps", {"steps": 1}).id, timeout=30)
    assert run.status is RunStatus.SUCCEEDED
    with stage.database.connect() as sql:
        hearts = sql.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'holdfast-heartbeat'"
        ).fetchone()
    assert hearts == (1,)
