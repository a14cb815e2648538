"""Claim: take a run whose bell has rung, if it is still to be had and this process may take one (R4, R8, R12)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.graphs import registry
from holdfast.persistence import ledger
from holdfast.persistence.ids import RunId, new_token
from holdfast.persistence.records import Claim
from holdfast.runner.runs.process import Process

logger = logging.getLogger("holdfast.claim")

BEAT_AGE = 1.0
"""Seconds: nothing is claimed without a beat younger than this (R8)."""
PATIENCE = 5.0
"""Seconds that a bell waits for a place in its process before it is given up; the sweep rings again."""


@contextmanager
def claimed(process: Process, run_id: RunId) -> Iterator[Claim | None]:
    """The claim, for as long as the block lasts; None if the run is not to be had."""
    if process.beating and not process.wait_for_beat(age=BEAT_AGE, timeout=BEAT_AGE):
        logger.warning("run %s is not claimed: this process has no recent heartbeat", run_id)
        yield None
        return
    if not process.enter(alone=False, patience=PATIENCE):
        yield None
        return
    try:
        claim = _take(process, run_id, alone=False)
        if claim is None and _wants_solitude(run_id):
            process.leave()
            if not process.enter(alone=True, patience=PATIENCE):
                process.enter(alone=False, patience=PATIENCE)  # balances the leave below
            else:
                logger.warning("run %s died twice at one place: it executes alone in this process", run_id)
                claim = _take(process, run_id, alone=True)
        yield claim
    finally:
        process.leave()


def _take(process: Process, run_id: RunId, *, alone: bool) -> Claim | None:
    with ledger.pooled():
        return ledger.claim(
            run_id,
            token=new_token(),
            owner=process.owner,
            session=process.session,
            alone=alone,
            known=[(spec.name, spec.version) for spec in registry.all()],
        )


def _wants_solitude(run_id: RunId) -> bool:
    with ledger.pooled():
        return ledger.wants_solitude(run_id)
