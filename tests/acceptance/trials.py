"""Runs of ``long_steps…`` that a test holds in the middle of a step, and what the database says of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import holdfast
from holdfast.persistence.records import Run
from tests.acceptance.databases import Database
from tests.acceptance.execution_log import ExecutionLog
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage, Worker

GRAPHS = ("long_steps", "long_steps_tasks", "long_steps_async")
PATIENCE = 90.0
"""Seconds: longer than anything here takes on a machine that has much else to do."""
LONG_LEASE: dict[str, Any] = {"LEASE": 40.0}
"""For workers whose runs must be found by their session's end: a worker that takes long to start does not
let the lease run out, and PATIENCE is longer than one whose own beat was late judges nobody (R9)."""

_LOST = re.compile(
    r"run (?P<run>\S+) was lost by (?P<owner>\S+) \((?P<cause>session gone|lease expired), "
    r"(?P<age>[\d.]+) s after its last beat(?P<draining>, draining)?; crashes: (?P<crashes>\d+)\)"
)
_FINISHED_SIBLINGS = """
SELECT count(DISTINCT task_id) FROM checkpoint_writes
WHERE thread_id = %s AND checkpoint_ns = '' AND checkpoint_id = (
    SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = %s AND checkpoint_ns = ''
)
"""


@dataclass(frozen=True, kw_only=True)
class TakeOver:
    """A lease that a sweep ended, as the worker that swept logged it."""

    run: str
    owner: str
    cause: str
    age: float
    """Seconds since the lease had been renewed."""
    draining: bool
    crashes: int


class Trial:
    """One run, its log of executions and the files that hold it."""

    def __init__(self, stage: Stage, graph: str, *, steps: int, width: int = 2, seconds: float = 0.0) -> None:
        self.graph = graph
        self.steps = steps
        self.width = width
        self._database: Database = stage.database
        name = f"{graph}-{sum(1 for _ in stage.directory.glob('*.log'))}"
        self.log = ExecutionLog(stage.directory / f"{name}.log")
        self._hold = stage.directory / f"{name}.hold"
        self._input = {
            "steps": steps,
            "width": width,
            "seconds": seconds,
            "log": str(self.log),
            "hold": str(self._hold),
        }
        self.log.path.touch()

    def enqueue(self, *, held: Iterable[int] = (), **options: Any) -> Trial:
        """Enqueue it; the last sibling of each step in ``held`` will not end before ``release``."""
        for step in held:
            Path(f"{self._hold}.{step}").touch()
        self.id = holdfast.enqueue(self.graph, self._input, **options).id
        return self

    @property
    def run(self) -> Run:
        """As it is in the database now."""
        return holdfast.get(self.id)

    def release(self, step: int) -> None:
        """Let the held sibling of that step end."""
        Path(f"{self._hold}.{step}").unlink()

    def wait_held(self, step: int) -> None:
        """Wait until the step's last sibling executes and the writes of all others are committed."""
        finished = self.width - 1 + (step * self.width if self.graph == "long_steps_tasks" else 0)

        def held() -> bool:
            if (step, self.width - 1) not in self.log.in_flight():
                return False
            return self._one(_FINISHED_SIBLINGS, self.run.thread_id, self.run.thread_id) == finished

        until(held, PATIENCE, f"{self.graph} {self.id} is held in step {step}: {self.log.in_flight()}")

    def wait_begun(self, step: int, times: int = 1) -> None:
        """Wait until the last sibling of that step has begun so often."""
        last = (step, self.width - 1)
        until(lambda: self.log.begun()[last] >= times, PATIENCE, f"{self.graph} begins {last} {times} times")

    def wait_succeeded(self) -> Run:
        """Wait for the run's end, which must be a success with each step's siblings in the result once."""
        run = holdfast.wait(self.id, timeout=PATIENCE)
        assert run.status == "succeeded", run
        done = run.result if self.graph == "long_steps_tasks" else run.result["done"]
        assert Counter(done) == Counter(f"{step}.{index}" for step, index in self.all()), done
        return run

    def all(self) -> list[tuple[int, int]]:
        """Every sibling of every step."""
        return [(step, index) for step in range(self.steps) for index in range(self.width)]

    def assert_executed(self, *, again: Iterable[int] = (), times: int = 2) -> None:
        """Each sibling began once, but the last ones of the steps in ``again``, which began ``times`` times."""
        expected = Counter(dict.fromkeys(self.all(), 1))
        expected.update({(step, self.width - 1): times - 1 for step in again})
        assert self.log.begun() == expected, f"{self.graph}: {self.log.begun() - expected}"
        assert self.log.repeated() == []
        assert self.log.ended() == Counter(dict.fromkeys(self.all(), 1))

    def _one(self, statement: str, *parameters: Any) -> Any:
        with self._database.connect() as connection:
            row = connection.execute(statement, parameters).fetchone()
            return row[0] if row else None


def take_overs(*workers: Worker) -> list[TakeOver]:
    """What the sweeps of these workers took away from whom, and why."""
    return [
        TakeOver(
            run=found["run"],
            owner=found["owner"],
            cause=found["cause"],
            age=float(found["age"]),
            draining=bool(found["draining"]),
            crashes=int(found["crashes"]),
        )
        for worker in workers
        for found in _LOST.finditer(worker.text)
    ]


WRITTEN = {
    "holdfast_run": "SELECT * FROM holdfast_run ORDER BY id",
    "holdfast_entry": "SELECT * FROM holdfast_entry ORDER BY run_id",
    "holdfast_effect": "SELECT * FROM holdfast_effect ORDER BY key",
    "holdfast_step": "SELECT * FROM holdfast_step ORDER BY id",
    "checkpoints": "SELECT * FROM checkpoints ORDER BY thread_id, checkpoint_ns, checkpoint_id",
    "checkpoint_blobs": "SELECT * FROM checkpoint_blobs ORDER BY thread_id, checkpoint_ns, channel, version",
    "checkpoint_writes": "SELECT * FROM checkpoint_writes ORDER BY thread_id, checkpoint_ns, checkpoint_id,"
    " task_id, idx",
}


def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows that an attempt at a run may write, as they are now."""
    with database.connect() as connection:
        return {table: connection.execute(statement).fetchall() for table, statement in WRITTEN.items()}
