"""R8: a pool in which a node can stop the heartbeat executes no run, and says so."""

from __future__ import annotations

import holdfast
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage

GREEN = {"CELERY_CUSTOM_WORKER_POOL": "tests.acceptance.green:TaskPool"}


def test_a_green_worker_for_runs_ends_with_the_reason(stage: Stage) -> None:
    worker = stage.worker(pool="custom", extra=GREEN, wait=False)
    assert worker.wait_end() == 1
    assert "not executed in a gevent or eventlet pool" in worker.text
    assert "--pool=threads" in worker.text


def test_p1_a_green_worker_for_other_tasks_starts_and_leaves_runs_queued(stage: Stage) -> None:
    green = stage.worker(pool="custom", extra=GREEN, queues=("mine",))
    run = holdfast.enqueue("joke", {"topic": "anchors"}, queue="mine")
    until(lambda: "not executed in a gevent or eventlet pool" in green.text, 20, "it refuses the run")
    assert holdfast.get(run.id).status == "queued"
    green.term()
    green.wait_end()

    stage.worker(pool="threads", queues=("mine",))
    assert holdfast.wait(run.id, timeout=30).status == "succeeded"
