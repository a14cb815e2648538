"""What retention sees of one thread, and what follows from it (P10, R20). Reads and writes nothing itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from holdfast.conf import Retention

UNFENCED_QUIET: Final = timedelta(hours=1)
"""How long a thread must not have been written without a fence before anything of it is deleted."""

_GREGORIAN = datetime(1582, 10, 15, tzinfo=UTC)  # RFC 9562, 5.1: where the time of a UUIDv6 begins


@dataclass(frozen=True, kw_only=True, slots=True)
class ThreadLook:
    """One thread, as retention_look saw it."""

    thread_id: str
    now: datetime
    created_at: datetime | None
    newest: str | None
    roots: int
    fenced: bool
    has_runs: bool
    unfinished: bool
    last_run: datetime | None
    oldest_end: datetime | None
    backend: str | None = None
    """Where its checkpoints are, as it may be shown; None: in Django's database."""

    @property
    def written_at(self) -> datetime | None:
        """When the newest checkpoint was made; the present where its id does not tell."""
        return None if self.newest is None else checkpoint_time(self.newest) or self.now

    @property
    def in_use(self) -> bool:
        """Whether a run needs it, or somebody who locks nothing may be writing to it."""
        return self.unfinished or self.open_to_strangers

    @property
    def open_to_strangers(self) -> bool:
        """Whether it was written without a fence so lately that more may be on the way."""
        if self.newest is None:  # a row that enqueue, or the first checkpoint, may be about to follow
            return not self.has_runs and (self.created_at or self.now) > self.now - UNFENCED_QUIET
        return not self.fenced and written_lately(self.newest, self.now)

    def expired(self, policy: Retention) -> bool:
        """Whether the whole thread goes: nothing has happened on it for max_age."""
        if policy.max_age is None or (self.newest is None and self.has_runs and self.backend is None):
            return False
        times = [at for at in (self.written_at, self.last_run) if at is not None]
        last = max(times, default=self.created_at or self.now)
        return last < self.now - timedelta(seconds=policy.max_age)

    def may_be_too_long_elsewhere(self, policy: Retention) -> bool:
        """Whether its saver is to be asked how long it is."""
        return self.backend is not None and policy.keep_last is not None

    def too_long(self, policy: Retention) -> bool:
        """Whether it has more root checkpoints than stay."""
        return policy.keep_last is not None and self.roots > policy.keep_last

    def has_old_runs(self, policy: Retention) -> bool:
        """Whether a run of it ended longer than run_age ago."""
        if policy.run_age is None or self.oldest_end is None:
            return False
        return self.oldest_end < self.now - timedelta(seconds=policy.run_age)

    def work(self, policy: Retention) -> bool:
        """Whether there is anything to delete."""
        return (
            self.expired(policy)
            or self.too_long(policy)
            or self.may_be_too_long_elsewhere(policy)
            or self.has_old_runs(policy)
        )


def written_lately(checkpoint_id: str, now: datetime) -> bool:
    """Whether somebody who locks nothing, and stored this checkpoint, may have another one on the way."""
    return (checkpoint_time(checkpoint_id) or now) > now - UNFENCED_QUIET


def checkpoint_time(checkpoint_id: str) -> datetime | None:
    """When a checkpoint was made, from its id (UUIDv6, or v1 or v7); None where it does not tell."""
    try:
        id_ = UUID(checkpoint_id)
        if id_.version == 7:
            return datetime.fromtimestamp((id_.int >> 80) / 1000, UTC)
        if id_.version == 6:
            ticks = (id_.int >> 80) << 12 | (id_.int >> 64) & 0xFFF
        elif id_.version == 1:
            ticks = id_.time
        else:
            return None
        return _GREGORIAN + timedelta(microseconds=ticks // 10)
    except (ValueError, OverflowError):
        return None
