"""P3, P13: workers whose clocks disagree go on from each other's checkpoints, whose ids are made of the time."""

from __future__ import annotations

from pathlib import Path

import pytest

import holdfast
from holdfast.persistence.models import RunStatus
from tests.acceptance.databases import ROOT
from tests.acceptance.journal.pages import Gate, Log, page
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage

SKEWED = """
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + {seconds}
time.time_ns = lambda: _time_ns() + {seconds} * 10**9
"""


def clock(directory: Path, seconds: int) -> dict[str, str]:
    """The environment of a Python process whose clock is fast by so much."""
    folder = directory / f"clock{seconds}"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SKEWED.format(seconds=seconds))
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


@pytest.mark.parametrize("end", ["term", "kill"])
def test_p3_p13_a_worker_goes_on_where_one_whose_clock_is_fast_has_stopped(
    stage: Stage, tmp_path: Path, end: str
) -> None:
    gate, log = Gate(tmp_path), Log(tmp_path)
    run = holdfast.enqueue("journal", page("a", 6, gate=str(gate), gate_at=2, ask_at=4, log=str(log)))
    fast = stage.worker(concurrency=1, extra=clock(tmp_path, 3600))
    until(lambda: log.counts().get("a.2"), 30, "the fast one executes")
    getattr(fast, end)()
    gate.open()
    stage.worker(concurrency=1)
    asking = holdfast.wait(run.id, timeout=60)
    assert asking.status is RunStatus.INTERRUPTED, asking.error
    holdfast.resume(run.id, "yes")
    ended = holdfast.wait(run.id, timeout=60)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert ended.result["notes"] == ["a>", "a.0", "a.1", "a.2", "a.3", "a=yes", "a.5"]
    # Once each, but for the step that was killed in the middle, and the one that was asked and answered.
    assert log.counts() == {
        "a.0": 1,
        "a.1": 1,
        "a.2": 1 if end == "term" else 2,
        "a.3": 1,
        "a.4": 2,
        "a.5": 1,
    }
