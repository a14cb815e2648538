"""What the sweep ends and rings for; every statement picks its rows with SKIP LOCKED, none waits (R10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from holdfast import faults
from holdfast.conf import settings
from holdfast.persistence.ids import ThreadId
from holdfast.persistence.ledger.rows import as_bell, as_bells, as_run
from holdfast.persistence.ledger.statements import execute, in_transaction
from holdfast.persistence.records import Bell, Run

SWEEP_LOCK: Final = 0x484F4C44
"""The advisory lock of the sweep: "HOLD"."""
BELLS_LOCK: Final = 0x42454C4C
"""The advisory lock of those who look for due bells: "BELL"."""
BELLS_A_SWEEP: Final = 200
ENDED_A_SWEEP: Final = 100


def apply_cancels() -> list[Run]:
    """End the runs that nobody executes and somebody wants ended (R14)."""
    return [as_run(row) for row in execute("run_apply_cancels")]


def drop_stale_requests() -> None:
    """Forget requests for runs that ended by themselves."""
    execute("run_drop_stale_requests")


def roll_back() -> list[ThreadId]:
    """Delete what cancelled runs wrote that wanted a rollback, then free their threads (R14)."""
    freed = []
    for row in execute("run_rollbacks"):
        with in_transaction():
            if not execute("thread_lock_if_free", row):
                continue
            execute("run_rollback_checkpoints", row)
            execute("thread_delete_unused_blobs", row)
            if execute("run_free_thread", row):
                freed.append(ThreadId(row["thread_id"]))
            faults.point("rollback-before-commit")
        faults.point("rollback-after-commit")
    return freed


class Lost(NamedTuple):
    """A lease that the sweep ended: the run as it is now, who had it, and why it is taken away."""

    run: Run
    owner: str
    bell: Bell
    unrenewed: float
    """Seconds since the lease was renewed."""
    expired: bool
    """Whether the lease ran out; otherwise its holder's session was gone."""
    draining: bool
    """Whether its holder was going anyway, so that no crash was counted (R13)."""

    @property
    def cause(self) -> str:
        """For the log."""
        why = "lease expired" if self.expired else "session gone"
        return f"{why}, {self.unrenewed:.2f} s after its last beat{', draining' if self.draining else ''}"


def sweep_lost() -> list[Lost]:
    """End lost leases (R9, R12); those that may be executed again have been stamped for a bell."""
    execute("run_mark_incarnation")
    conf = settings()
    parameters = {"lock": SWEEP_LOCK, "lease": conf.LEASE, "gone": conf.SESSION_GONE}
    rows = execute("run_sweep_lost", parameters)
    faults.point("sweep-after-commit")
    return [
        Lost(
            run=as_run(row),
            owner=row["lost_owner"],
            bell=as_bell(row),
            unrenewed=row["unrenewed"],
            expired=row["expired"],
            draining=row["was_draining"],
        )
        for row in rows
    ]


def sweep_deadlines() -> list[Run]:
    """Fail what is past its deadline (R8)."""
    return [as_run(row) for row in execute("run_sweep_deadlines")]


def bells(
    *, queues: Sequence[str], default_queue: str, known: Sequence[tuple[str, str]], idle: bool
) -> list[Bell]:
    """Stamp and return the bells that are due or taken for lost (R15, R16), of ``known`` graphs and versions."""
    conf = settings()
    parameters = {
        "lock": BELLS_LOCK,
        "ringers": repr((sorted(queues), default_queue, sorted(known))),
        "queues": list(queues),
        "default_queue": default_queue,
        "known": [f"{name}@{version}" for name, version in known],
        "idle": idle,
        "idle_seconds": conf.BELL_IDLE,
        "max_seconds": conf.BELL_MAX,
        "most": BELLS_A_SWEEP,
    }
    return as_bells(execute("run_bells", parameters))


def histories_due() -> list[ThreadId]:
    """Threads on which runs have ended of whose checkpoints not all stay (history.py): those that wait longest."""
    return [ThreadId(row["thread_id"]) for row in execute("history_due", {"limit": ENDED_A_SWEEP})]
