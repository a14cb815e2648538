"""P1, P2, P6, P7 together: 200 runs on 20 threads, and two workers to which everything happens.

The seed is printed, and ``CHAOS_SEED`` sets it. What a seed decides is which accident comes when; the
machine decides what it hits. ``CHAOS_RUNS`` makes a longer or shorter trial.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from itertools import groupby

import psutil
import pytest

import holdfast
from holdfast.persistence.models import RunRow
from tests.acceptance.journal.pages import notes, page
from tests.acceptance.workers import Stage, Worker

RUNS, THREADS, STEPS = int(os.environ.get("CHAOS_RUNS", "200")), 20, 4
ACCIDENTS = RUNS // 3
SETTINGS = {"LEASE": 4.0, "IDLE_IN_TRANSACTION": 2.0, "GRACE": 3.0, "BELL_IDLE": 1.0, "BELL_BUSY": 5.0}

WATCH = """
CREATE TABLE IF NOT EXISTS holdfast_test_ended (run_id uuid, status text);
CREATE OR REPLACE FUNCTION holdfast_test_watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO holdfast_test_ended VALUES (new.id, new.status); RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER holdfast_test_watch AFTER UPDATE OF status ON holdfast_run FOR EACH ROW
    WHEN (old.status IS DISTINCT FROM new.status AND new.status IN ('succeeded', 'failed', 'cancelled'))
    EXECUTE FUNCTION holdfast_test_watch();
"""
"""Writes down each time that a run ends, whoever ends it."""


class Accidents:
    """What happens to two workers, one thing after another."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.random = random.Random(seed)
        self.happened: Counter[str] = Counter()
        self.stopped: list[tuple[Worker, int, float]] = []
        self.workers = [self._start() for _ in range(2)]
        for worker in self.workers:
            worker.wait_ready(60)

    def _start(self) -> Worker:
        return self.stage.worker(concurrency=2, holdfast=SETTINGS, wait=False)

    def _supervise(self) -> None:
        # Celery's parent gives up when a child dies before its loop has begun.
        self.workers = [worker if worker.alive else self._start() for worker in self.workers]

    def next(self) -> None:
        """One more, chosen by the seed."""
        self._wake(time.monotonic())
        self._supervise()
        kind = self.random.choices(
            ("kill child", "stop child", "kill worker", "hand over", "cut connections", "pass"),
            (8, 5, 1, 2, 4, 4),
        )[0]
        place = self.random.randrange(2)
        worker = self.workers[place]
        if (
            not worker.ready
        ):  # a worker that is killed before it has begun proves nothing, and begins for ever
            return
        self.happened[kind] += 1
        if kind == "kill worker":
            worker.kill()
            self.workers[place] = self._start()
        elif kind == "hand over":
            worker.term()
            self.workers[place] = self._start()
        elif kind == "cut connections":
            with self.stage.database.connect() as sql:
                sql.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name LIKE 'holdfast%'"
                    " AND random() < 0.5"
                )
        elif children := worker.children:
            child = self.random.choice(children)
            if kind == "kill child":
                worker.kill_child(child)
            elif kind == "stop child":
                self._stop(worker, child)

    def _stop(self, worker: Worker, child: int) -> None:
        longer_than_its_lease = self.random.random() < 0.5
        try:
            psutil.Process(child).suspend()
        except psutil.NoSuchProcess:
            return
        seconds = SETTINGS["LEASE"] + 2.0 if longer_than_its_lease else 0.5
        self.stopped.append((worker, child, time.monotonic() + seconds))

    def _wake(self, now: float) -> None:
        for entry in list(self.stopped):
            _, child, until = entry
            if now >= until:
                self.stopped.remove(entry)
                try:
                    psutil.Process(child).resume()
                except psutil.NoSuchProcess:
                    continue

    @property
    def many(self) -> bool:
        """Whether it is enough, so that a slow machine comes to an end too."""
        return self.happened.total() >= ACCIDENTS

    def end(self) -> None:
        """Nothing happens any more: everybody is awake, and two workers are there."""
        self._wake(float("inf"))
        self._supervise()


@pytest.mark.timeout(400)
def test_p6_two_hundred_runs_end_once_and_never_interleave_whatever_happens(stage: Stage) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    print(f"CHAOS_SEED={seed}")
    with stage.database.connect() as sql:
        sql.execute(WATCH)
    names = [f"r{number}" for number in range(RUNS)]
    runs = holdfast.enqueue_many(
        [
            {
                "graph": "hardy_journal",
                "input": page(name, STEPS, seconds=0.02),
                "thread_id": f"t{number % THREADS}",
            }
            for number, name in enumerate(names)
        ]
    )
    accidents = Accidents(stage, seed)
    begin = time.monotonic()
    unfinished = RunRow.objects.exclude(status="succeeded")
    while left := unfinished.count():
        assert time.monotonic() - begin < 300, (seed, accidents.happened, left, dict(_statuses()))
        if left > RUNS // 20 and not accidents.many:  # the last ones end in peace
            accidents.next()
        else:
            accidents.end()
        time.sleep(accidents.random.uniform(0.1, 0.7))  # the pace of the accidents, not a wait for anything
    print(f"{time.monotonic() - begin:.1f} s of {dict(accidents.happened)}")

    ended = _ended(stage)
    assert {run.id: ended[run.id] for run in runs} == {run.id: ["succeeded"] for run in runs}
    for thread in range(THREADS):
        ours = [
            (run, name)
            for n, (run, name) in enumerate(zip(runs, names, strict=True))
            if n % THREADS == thread
        ]
        expected: list[str] = []
        for run, name in ours:
            expected += notes(name, STEPS)
            assert holdfast.get(run.id).result["notes"] == expected, f"seed {seed}"
        assert holdfast.state(f"t{thread}").values["notes"] == expected, f"seed {seed}"
        # Checkpoints of one run lie side by side, also those of attempts that were taken over.
        with stage.database.connect() as sql:
            writers = sql.execute(
                "SELECT metadata ->> 'run_id' FROM checkpoints WHERE thread_id = %s ORDER BY checkpoint_id",
                [f"t{thread}"],
            ).fetchall()
        assert [run_id for (run_id,), _ in groupby(writers)] == [str(run.id) for run, _ in ours]
        assert len(writers) == len(ours) * (STEPS + 3), "the input, its passing on, begin, each step"


def _statuses() -> list[tuple[str, int]]:
    return list(Counter(RunRow.objects.values_list("status", flat=True)).items())


def _ended(stage: Stage) -> dict[object, list[str]]:
    found: dict[object, list[str]] = {}
    with stage.database.connect() as sql:
        for run_id, status in sql.execute("SELECT run_id, status FROM holdfast_test_ended").fetchall():
            found.setdefault(run_id, []).append(status)
    return found
