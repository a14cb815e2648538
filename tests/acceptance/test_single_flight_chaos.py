"""P5 with everything happening to two workers: runs agree on each value, and nothing is computed again without need.

The seed is printed, and ``CHAOS_SEED`` sets it (see test_chaos).
"""

from __future__ import annotations

import os
import random
import time
from itertools import cycle

import pytest

import holdfast
from holdfast.persistence.models import NodeCacheEntry, NodeFlight, RunRow
from tests.acceptance.asking import sharing as sharing  # registers its graphs here, too
from tests.acceptance.execution_log import ExecutionLog
from tests.acceptance.test_chaos import Accidents
from tests.acceptance.workers import Stage

GRAPHS = ("hardy_sharing", "hardy_sharing_async", "hardy_sharing_calls")
RUNS, KEYS, EACH = 60, 45, 4


@pytest.mark.timeout(300)
def test_p5_runs_agree_on_every_value_and_pay_again_only_for_who_died(stage: Stage) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    print(f"CHAOS_SEED={seed}")
    chance = random.Random(seed)
    gate = str(stage.directory / "value")
    runs = holdfast.enqueue_many(
        [
            {
                "graph": graph,
                "input": {"keys": chance.sample(range(KEYS), EACH), "gate": gate, "seconds": 0.3},
                "config": {"max_concurrency": chance.choice([2, 3, 10])},
            }
            for graph, _ in zip(cycle(GRAPHS), range(RUNS), strict=False)
        ]
    )
    accidents = Accidents(stage, seed)
    begin = time.monotonic()
    while left := RunRow.objects.exclude(status="succeeded").count():
        assert time.monotonic() - begin < 200, (seed, accidents.happened, left)
        if left > RUNS // 10 and not accidents.many:  # the last ones end in peace
            accidents.next()
        else:
            accidents.end()
        time.sleep(accidents.random.uniform(0.1, 0.7))  # the pace of the accidents, not a wait for anything
    print(f"{time.monotonic() - begin:.1f} s of {dict(accidents.happened)}")

    values: dict[tuple[str, str], set[str]] = {}
    attempts = 0
    for run in map(holdfast.get, (run.id for run in runs)):
        attempts += run.deliveries
        for value in run.result["done"]:
            values.setdefault((run.graph, value.split()[0]), set()).add(value)
    assert {key: len(found) for key, found in values.items() if len(found) > 1} == {}, f"seed {seed}"
    computed = sum(ExecutionLog(stage.directory / "value.log").begun().values())
    print(f"{computed} computed for {len(values)} values, in {attempts} attempts at {RUNS} runs")
    # An attempt that is lost loses at most what it computes at that moment.
    assert len(values) <= computed <= len(values) + EACH * (attempts - RUNS), f"seed {seed}"
    assert NodeCacheEntry.objects.count() == len(values)
    assert not NodeFlight.objects.exists()
