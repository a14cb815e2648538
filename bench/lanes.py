"""Lanes: what is compared, each with a database, a broker, a driver and a worker of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import ROOT, BenchError, Driver, Worker
from bench.project.chains import read_lines
from bench.servers import Postgres, Redis

HOLDFAST = "Holdfast, PostgreSQL broker"
ON_REDIS = "Holdfast, Redis broker"
STOCK = "bare Celery task, stock PostgresSaver, Redis broker"


@dataclass(frozen=True, kw_only=True, slots=True)
class Burst:
    """What one burst of runs showed."""

    working: float
    """Runs a second, from the first that began to the last that returned."""
    overall: float
    """Runs a second, from the moment when the caller began to hand them in."""
    handing_in: float
    """Milliseconds a run that handing in cost the caller."""
    cpu: float
    """Milliseconds of processor time a run, of the worker's processes."""


class Lane:
    """One way to run a graph."""

    def __init__(self, name: str, kind: str, database: dict[str, Any], broker: str, folder: Path) -> None:
        self.name = name
        self.kind = kind
        self.folder = folder
        self.ends_file = folder / "ends"
        self._ready_file = folder / "ready"
        self._app = f"bench.project.{'celery' if kind == 'holdfast' else 'stock'}:app"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "bench.project.settings",
            "HOLDFAST_BENCH_DATABASE": json.dumps(database),
            "HOLDFAST_BENCH_BROKER": broker,
            "HOLDFAST_BENCH_ENDS": str(self.ends_file),
            "HOLDFAST_BENCH_READY": str(self._ready_file),
        }
        self._driver: Driver | None = None
        self._worker: Worker | None = None

    @property
    def driver(self) -> Driver:
        """Started at first use."""
        if self._driver is None:
            self._driver = Driver(self.environment, self.kind)
        return self._driver

    @property
    def worker(self) -> Worker:
        """The worker with two prefork children, started at first use."""
        if self._worker is None:
            self._worker = self.new_worker(concurrency=2)
        return self._worker

    def new_worker(self, *, concurrency: int) -> Worker:
        """One more worker of this lane, once it consumes."""
        worker = Worker(self._app, self.environment, self.folder, concurrency=concurrency)
        return worker.wait_ready(self._ready_file)

    def end_worker(self) -> None:
        """Stop the lane's worker, if it has been started."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def burst(self, graph: str, count: int, *, seconds: float = 120) -> Burst:
        """Hand in ``count`` runs and wait until all have returned. Raises BenchError unless each ran once."""
        self.ends_file.write_text("")
        before = self.worker.cpu_seconds()
        sent = self.driver.ask("burst", graph=graph, count=count)
        end = time.monotonic() + seconds
        while len(lines := read_lines(self.ends_file)) < count:
            if time.monotonic() > end:
                raise BenchError(f"{self.name}: {len(lines)} of {count} runs in {seconds} s")
            time.sleep(0.02)  # the tasks say so in a file; looking more often would take from them
        if self.kind == "holdfast":
            seen = self.driver.ask("look", ids=sent["ids"])
            if seen != {"succeeded": count, "deliveries": count}:
                raise BenchError(f"{self.name}: of {count} runs: {seen}")
        last = max(float(at) for _, _, at in lines)
        return Burst(
            working=count / (last - min(float(at) for _, at, _ in lines)),
            overall=count / (last - sent["began"]),
            handing_in=(sent["sent"] - sent["began"]) / count * 1000,
            cpu=(self.worker.cpu_seconds() - before) / count * 1000,
        )


class Lanes:
    """All lanes of one benchmark, made when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.postgres = Postgres()
        self.redis = Redis()
        self.has_redis = self.redis.answers()
        self._folder = folder
        self._migrated: str | None = None
        self._lanes: dict[str, Lane] = {}

    def names(self) -> list[str]:
        """Those that this machine has the servers for."""
        return [HOLDFAST, ON_REDIS, STOCK] if self.has_redis else [HOLDFAST]

    def get(self, name: str) -> Lane:
        """The lane of that name."""
        if name not in self._lanes:
            self._lanes[name] = self._stock() if name == STOCK else self._holdfast(name)
        return self._lanes[name]

    def end(self) -> None:
        """Remove the databases and the keys; the processes have ended before."""
        with suppress(Exception):
            self.postgres.drop_all()
        if self.has_redis:
            with suppress(Exception):
                self.redis.clear()

    def _holdfast(self, name: str) -> Lane:
        number = len(self._lanes)
        on_redis = name == ON_REDIS
        if self._migrated is None:
            self._migrated = self._migrate()
        database = self.postgres.create(f"lane_{number}", template=self._migrated)
        broker = self.redis.url if on_redis else "holdfast://default"
        return self._made(name, "holdfast", database, broker)

    def _stock(self) -> Lane:
        lane = self._made(STOCK, "stock", self.postgres.create("stock"), self.redis.url)
        lane.driver.ask("setup")
        return lane

    def _made(self, name: str, kind: str, database: dict[str, Any], broker: str) -> Lane:
        folder = self._folder / str(len(self._lanes))
        folder.mkdir()
        lane = Lane(name, kind, database, broker, folder)
        lane.environment["HOLDFAST_BENCH_PREFIX"] = f"{self.redis.prefix}{len(self._lanes)}-"
        return lane

    def _migrate(self) -> str:
        database = self.postgres.create("template")
        done = subprocess.run(
            [sys.executable, "-m", "django", "migrate", "--verbosity=0", "--skip-checks"],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "DJANGO_SETTINGS_MODULE": "bench.project.settings",
                "HOLDFAST_BENCH_DATABASE": json.dumps(database),
            },
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BenchError(f"the migrations failed:\n{done.stderr[-3000:]}")
        return str(database["NAME"])
