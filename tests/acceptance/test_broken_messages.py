"""P1: one forged or broken message stops no worker from serving the rest, on any broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection

import holdfast
from tests.acceptance.brokers import Broker, every_broker
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def _broken(key: str) -> Iterator[tuple[dict[str, Any], Any]]:
    """Headers and body. Each of them ended a worker of Celery's own, which took it again at its next start."""
    sound = {"lang": "py", "task": "holdfast.run", "id": key, "retries": 0, "timelimit": [None, None]}
    body = [[key], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    yield sound, [_nested(900), {}, {}]
    yield {"kept": "elsewhere"}, {"task": "holdfast.run", "id": key, "args": _nested(900), "kwargs": {}}
    yield {}, {"task": "holdfast.run"}
    yield {"task": "holdfast.run"}, body
    yield sound | {"task": ["holdfast.run"]}, body
    yield sound | {"id": {"of": key}}, body
    yield sound | {"expires": {}}, body
    yield sound | {"timelimit": 3}, body
    yield sound | {"timelimit": ["soon", "later"]}, body
    yield sound | {"stamped_headers": 7, "stamps": {}}, body
    yield sound, "no arguments"


@every_broker
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_p1_a_broken_message_is_rejected_and_the_worker_serves_the_rest(
    stage: Stage, broker: Broker, pool: str
) -> None:
    worker = stage.worker(pool=pool)
    key = str(uuid4())
    broken = list(_broken(key))
    with Connection(broker.url) as connection:
        for headers, body in broken:
            connection.Producer().publish(body, routing_key=broker.queue, headers=headers, serializer="json")
    run = holdfast.enqueue("joke", {"topic": "anchors"})
    assert holdfast.wait(run.id, timeout=60).status == "succeeded"
    until(lambda: broker.messages() == 0, 30, "the broken messages are gone")
    assert worker.alive
    told = [line for line in worker.text.splitlines() if " is rejected: " in line]
    assert len(told) == len(broken), told
    assert sum(key in line for line in told) == len(broken) - 3, told  # three of them have no id
    worker.term()
    assert worker.wait_end() == 0
