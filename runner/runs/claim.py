"""Claim: take a run whose bell has rung, if it is still to be had and this process may take one (R4, R8, R12)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from holdfast.graphs import registry
from holdfast.persistence import ledger
from holdfast.persistence.ids import RunId, new_token
from holdfast.persistence.records import Claim
from holdfast.runner import dispatch
from holdfast.runner.runs.gate import Admission
from holdfast.runner.runs.process import Process

logger = logging.getLogger("holdfast.claim")

BEAT_AGE = 1.0
"""Seconds: nothing is claimed without a beat younger than this (R8)."""
PATIENCE = 5.0
"""Seconds that a bell waits for a beat, or to be admitted to its process, before it is given up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A claim, and its admission to the process that executes it."""

    claim: Claim
    admission: Admission


@contextmanager
def claimed(process: Process, run_id: RunId) -> Iterator[Claimed | None]:
    """The claim, for as long as the block lasts; None if the run is not to be had."""
    if not _has_beaten(process, run_id):
        yield None
        return
    with process.gate.admission(patience=PATIENCE) as admission:
        if admission is None:
            _pass_on(run_id)  # this one has room once the run that is alone has moved on
            yield None
            return
        if (claim := _take(process, run_id, alone=False)) is not None:
            yield Claimed(claim=claim, admission=admission)
            return
    if process.draining or not _wants_solitude(run_id):
        yield None
        return
    with process.gate.admission(alone=True, patience=PATIENCE) as admission:
        if admission is None:
            _pass_on(run_id)  # some neighbour's node takes its time
            yield None
            return
        # It may have waited long, and the beat that it began with is old by now.
        if not _has_beaten(process, run_id) or (claim := _take(process, run_id, alone=True)) is None:
            yield None
            return
        logger.warning("run %s died twice at one place: it executes alone in this process", run_id)
        yield Claimed(claim=claim, admission=admission)


def _has_beaten(process: Process, run_id: RunId) -> bool:
    """Whether this process has a recent heartbeat (R8), or gets one in time."""
    # A beat that does not come means that the database is away: nothing could be claimed now anyhow.
    if process.beating and not process.wait_for_beat(age=BEAT_AGE, timeout=PATIENCE):
        logger.warning("run %s is not claimed: this process has no recent heartbeat", run_id)
        return False
    return True


def _take(process: Process, run_id: RunId, *, alone: bool) -> Claim | None:
    if (
        process.draining
    ):  # looked at last: it may have been told so while it waited for a beat or to be admitted (R13)
        return None
    with ledger.pooled():
        return ledger.claim(
            run_id,
            token=new_token(),
            owner=process.owner,
            session=process.session,
            alone=alone,
            known=[(spec.name, spec.version) for spec in registry.all()],
        )


def _pass_on(run_id: RunId) -> None:
    """Another process may have room, or this one later; without a new bell the run would wait for the sweep's."""
    with ledger.pooled():
        bells = ledger.pass_on(run_id, waited=PATIENCE / 2)
    dispatch.ring_all(bells)


def _wants_solitude(run_id: RunId) -> bool:
    with ledger.pooled():
        return ledger.wants_solitude(run_id)
