"""Named points at every commit boundary, where a test can stop or kill the program.

``HOLDFAST_FAULTS="after-claim=kill,before-settle=stop"`` arms points for a process and its
children; ``after-claim=kill:3`` acts at the third passing. Without the variable a point costs one
comparison. A file named by ``HOLDFAST_FAULTS_LOG`` receives a line for each armed passing.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Final, Literal, cast, get_args

Point = Literal[
    "enqueue-before-commit",
    "enqueue-after-commit",
    "claim-after-commit",
    "input-before-first-checkpoint",
    "checkpoint-before-commit",
    "checkpoint-after-commit",
    "backend-before-note",
    "writes-before-commit",
    "writes-after-commit",
    "settle-before-commit",
    "settle-in-transaction",
    "settle-after-commit",
    "resume-before-commit",
    "resume-after-commit",
    "update-before-commit",
    "update-after-commit",
    "cancel-after-commit",
    "rollback-before-commit",
    "rollback-after-commit",
    "retry-before-commit",
    "retry-after-commit",
    "fork-before-commit",
    "handover-before-commit",
    "handover-after-commit",
    "sweep-after-commit",
    "effect-before-begin",
    "effect-after-begin",
    "effect-in-transaction",
    "effect-after-body",
    "effect-after-commit",
    "cache-before-set",
    "retention-before-commit",
    "broker-after-take",
    "broker-before-acknowledge",
    "broker-after-acknowledge",
]

_ACTIONS: Final = ("kill", "exit", "stop", "raise")


class FaultError(RuntimeError):
    """What an armed point with the action ``raise`` raises."""


def _parse(text: str) -> dict[str, tuple[str, int]]:
    armed = {}
    for part in filter(None, text.split(",")):
        name, _, action = part.partition("=")
        action, _, passing = action.partition(":")
        if name not in get_args(Point) or action not in _ACTIONS:
            raise ValueError(f"HOLDFAST_FAULTS: no such point or action: {part!r}")
        armed[name] = (action, int(passing or 1))
    return armed


_armed: dict[str, tuple[str, int]] = _parse(os.environ.get("HOLDFAST_FAULTS", ""))
_passed: dict[str, int] = {}
_lock = threading.Lock()


def point(name: Point) -> None:
    """Pass the point; when it is armed and this is the passing it is armed for, act."""
    if not _armed or name not in _armed:
        return
    action, passing = _armed[cast(str, name)]
    with _lock:
        _passed[name] = _passed.get(name, 0) + 1
        due = _passed[name] == passing
    if log := os.environ.get("HOLDFAST_FAULTS_LOG"):
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {name} {_passed[name]}\n")
    if not due:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "exit":
        os._exit(70)
    elif action == "stop":
        # To this very thread: sent to the process, it may reach another thread first, and this one passes
        # the point before all of them stand still (seen: a COMMIT went out).
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    else:
        raise FaultError(name)
