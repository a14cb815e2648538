"""Processes that each attend to one run with a fault point armed, and die of it: forks of one script.

Run by ``Stage.script``: ``attend_and_die([("settle-before-commit=kill", run_id), …])``. Each beats as a
worker's child does, so that others see its session go. Prints the exit status of each.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence

from holdfast import faults
from holdfast.graphs import registry
from holdfast.persistence.ids import parse_run_id
from holdfast.runner.runs.attend import attend
from holdfast.runner.runs.heartbeat import Heartbeat
from holdfast.runner.runs.process import here


def attend_and_die(doomed: Sequence[tuple[str, str]]) -> None:
    """Attend to each run in a process of its own, one after the other."""
    for spec in registry.all():
        spec.compile()
    for fault, run_id in doomed:
        if not (child := os.fork()):
            _attend(fault, run_id)
        _, status = os.waitpid(child, 0)
        print(fault, os.waitstatus_to_exitcode(status), flush=True)


def _attend(fault: str, run_id: str) -> None:
    status = 1
    try:
        faults._armed, faults._passed = faults._parse(fault), {}
        Heartbeat(here()).start()
        attend(parse_run_id(run_id))
        status = 0
    except BaseException:  # shown, as this process ends without Python's own way out
        traceback.print_exc()
    finally:
        os._exit(status)
