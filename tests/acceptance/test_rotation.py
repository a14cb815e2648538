"""Keys are rotated while workers execute, also while one is killed and another goes on (P2, P3, P12)."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.test import override_settings

import holdfast
from holdfast.graphs.examples.long_steps import read_log
from holdfast.persistence import rotation
from holdfast.persistence.models import RunStatus
from tests.acceptance.databases import ROOT
from tests.acceptance.waiting import until
from tests.acceptance.workers import Stage
from tests.extras import extra

extra("cryptography")

KEYS = {name: base64.b64encode(bytes([number]) * 32).decode() for number, name in enumerate("ab", 1)}
STEPS = 12


def under(active: str, *known: str) -> dict[str, Any]:
    return {"ENCRYPTION": {"keys": {name: KEYS[name] for name in known or KEYS}, "active": active}}


def rotating(stage: Stage) -> subprocess.Popen[str]:
    command = ["-m", "holdfast.runner.management.command", "rotate-keys", "--json", "--batch", "5"]
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=stage.environment(holdfast=under("b")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_p3_runs_go_on_while_their_keys_are_rotated_and_their_worker_is_killed(
    stage: Stage, tmp_path: Path
) -> None:
    logs = [tmp_path / f"log-{number}" for number in range(4)]
    with override_settings(HOLDFAST=under("a")):
        older = stage.worker(holdfast=under("a"))
        runs = [
            holdfast.enqueue("long_steps", {"steps": STEPS, "seconds": 0.15, "width": 2, "log": str(log)})
            for log in logs
        ]
    until(lambda: sum(log.exists() for log in logs) >= 2, 30, "two runs execute")
    reports = []
    for _ in range(3):
        process = rotating(stage)
        said, complained = process.communicate(timeout=120)
        assert process.returncode == 0, complained
        reports.append(json.loads(said))
        if len(reports) == 1:
            older.kill()
            stage.worker(holdfast=under("b"))
    assert sum(report["total"] for report in reports) > 0
    with override_settings(HOLDFAST=under("b")):
        ended = [holdfast.wait(run.id, timeout=60) for run in runs]
        assert [run.status for run in ended] == [RunStatus.SUCCEEDED] * 4, [run.error for run in ended]
        assert rotation.rotate().failed == 0
    with override_settings(HOLDFAST=under("b", "b")):  # the older key is gone
        assert {held.key for held in rotation.census()} == {"b"}
        for run, log in zip(ended, logs, strict=True):
            result = holdfast.get(run.id).result
            assert sorted(result["done"]) == sorted(f"{step}.{n}" for step in range(STEPS) for n in range(2))
            begun = [(step, n) for what, step, n, _ in read_log(log) if what == "begin"]
            # Only what was in flight when its worker was killed has begun twice.
            assert len(begun) - len(set(begun)) <= 2
