"""P1, R17: a broker that is down costs its caller a second at most and never an exception; the run completes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

import holdfast
from holdfast.conf import settings
from holdfast.persistence import ledger
from holdfast.persistence.models import RunRow
from holdfast.persistence.records import Bell
from holdfast.runner import dispatch
from tests.acceptance.apps import celery_uses
from tests.acceptance.brokers import Broker
from tests.acceptance.journal.pages import notes, page
from tests.acceptance.proxies import Proxy
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage

URLS = (
    "redis://127.0.0.1:{port}/0",
    "amqp://guest:guest@127.0.0.1:{port}//",
    "holdfast+postgresql://postgres@127.0.0.1:{port}/postgres",
)
ALLOWED = 1.0
"""What a second on a machine that is busy with other things may take in addition."""


@dataclass
class DownBroker:
    """An address, in the place of one of the brokers."""

    url: str
    queue: str = "celery"

    def messages(self) -> int:
        return 0

    def lose_everything(self) -> None:
        """Nothing is there."""

    def close(self) -> None:
        """Nothing is there."""


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(autouse=True)
def _no_outage_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an outage, calls within the next second do not even try."""
    monkeypatch.setattr(dispatch, "_quiet_until", 0.0)


def test_p1_a_broker_that_is_down_costs_a_second_and_the_sweep_finds_the_runs(stage: Stage) -> None:
    enqueued: list[tuple[holdfast.Run, str]] = []
    costs: dict[str, float] = {}
    for down in (closed_port, black_hole):
        for pattern in URLS:
            name = f"{down.__name__}-{pattern.partition(':')[0]}"
            with down() as port, celery_uses(DownBroker(pattern.format(port=port))):
                dispatch._quiet_until = 0.0
                begin = time.monotonic()
                run = holdfast.enqueue("journal", page(name))
                costs[name] = time.monotonic() - begin
                begin = time.monotonic()
                again = holdfast.enqueue("journal", page(f"{name}-again"))
                costs[f"{name}-again"] = time.monotonic() - begin
            enqueued += [(run, name), (again, f"{name}-again")]
    assert {name: cost for name, cost in costs.items() if cost > settings().RING_TIMEOUT + ALLOWED} == {}
    assert RunRow.objects.filter(status="queued").count() == len(enqueued) == 12
    stage.worker(holdfast={"BELL_IDLE": 0.5})
    for run, name in enqueued:
        ended = holdfast.wait(run.id, timeout=60)
        assert (ended.status, ended.result["notes"]) == ("succeeded", notes(name))


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"], indirect=True, scope="module")
def test_r17_a_broker_that_falls_silent_in_the_middle_does_not_keep_the_ringer(
    stage: Stage, broker: Broker
) -> None:
    """A proxy in between stops passing anything on, and says nothing, as a firewall does."""
    with celery_uses(DownBroker(broker.url)) as app:
        address = app.connection_for_write()
        host, port = address.hostname or "127.0.0.1", address.port or address.transport.default_port
    with Proxy(host if host != "localhost" else "127.0.0.1", port) as proxy:
        url = broker.url.replace(f"{host}:{port}", f"127.0.0.1:{proxy.port}")
        assert str(proxy.port) in url
        through = DownBroker(url, broker.queue)
        with celery_uses(through):
            first = holdfast.enqueue("journal", page("first"))
            until(lambda: broker.messages() == 1, 30, "the first bell arrived")
            proxy.silent.set()
            begin = time.monotonic()
            assert not dispatch.ring(_bell(first))
            assert time.monotonic() - begin < settings().RING_TIMEOUT + ALLOWED
            proxy.silent.clear()

            def rings() -> bool:
                dispatch._quiet_until = 0.0
                return dispatch.ring(_bell(first))

            until(rings, 30, "it rings again through a new connection")
    until(lambda: broker.messages() >= 2, 30, "the later bell arrived")


def _bell(run: holdfast.Run) -> Bell:
    return ledger.bell(run)
