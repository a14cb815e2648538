"""One thread a process that says to the database that the process lives (R8), also when it is idle.

About twice a second it renews the leases of what is still executing, writes the timelines, passes on what
people have asked for, and sweeps. It never judges its own runs by its own clock: it asks. It uses one
Django connection of its own, which is also the session by which others know the process alive (R9).
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable

from django.db import connections

from holdfast.conf import settings
from holdfast.errors import LeaseLostError, NotMigratedError, OutageError
from holdfast.persistence import ledger, trouble
from holdfast.persistence.connections import lift_time_limits, limit_waits, shares_sessions
from holdfast.persistence.node_cache.tally import tally
from holdfast.persistence.records import Beat, Session
from holdfast.runner.runs import sweep
from holdfast.runner.runs.process import LATE, Execution, Process
from holdfast.runner.runs.watch import Watch
from holdfast.runner.signals import announce_apart

logger = logging.getLogger("holdfast.worker")

EXIT_OUTLIVED = 75  # EX_TEMPFAIL: the process was given up by its own heartbeat


class Heartbeat:
    """The thread, its pipe and its session."""

    def __init__(self, process: Process, *, drain_fd: int | None = None, replaced: bool = False) -> None:
        """``replaced``: whether the process has a parent that starts another when it ends."""
        self._process = process
        self._watch = Watch(replaced=replaced)
        self._drain_fd = drain_fd
        self._wake_read, self._wake_write = os.pipe()
        self._stopping = False
        self._session: Session | None = None
        self._last_sweep = 0.0
        self._judge_after = 0.0
        self._silent = False
        self._thread = threading.Thread(target=self._run, name="holdfast-heartbeat", daemon=True)

    def start(self) -> None:
        """Start beating; returns at once."""
        self._process.beating = True
        self._thread.start()
        self._watch.start()

    def wake(self) -> None:
        """Beat now, not at the next tick."""
        os.write(self._wake_write, b"!")

    def stop(self) -> None:
        """Stop beating, and close the session."""
        self._stopping = True
        self._watch.stop()
        self.wake()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            self._beat_on()
        except BaseException:  # without a beat it would hold its runs and renew none: let others have them
            logger.critical("the heartbeat failed; this process exits", exc_info=True)
            os._exit(EXIT_OUTLIVED)

    def _beat_on(self) -> None:
        while not self._stopping:
            began = time.monotonic()
            self._watch.turned()
            self._guarded(self._beat)
            if began - self._last_sweep >= settings().SWEEP and not self._process.draining:
                self._last_sweep = began
                self._guarded(self._sweep)
            self._sleep(began + settings().HEARTBEAT - time.monotonic())
        connections.close_all()

    def _sleep(self, seconds: float) -> None:
        waited = [self._wake_read]
        if self._drain_fd is not None and not self._process.draining:
            waited.append(self._drain_fd)
        ready, _, _ = select.select(waited, [], [], max(seconds, 0))
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        if self._drain_fd in ready:
            self._process.drain()  # the byte stays in the pipe, for the other children

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
            self._silent = False
        except (*ledger.DATABASE_ERRORS, OutageError) as error:
            meaning = trouble.explain(error)
            if isinstance(meaning, NotMigratedError):
                if not self._silent:
                    logger.error("the heartbeat waits for the tables: %s", meaning.message)
            elif not isinstance(error, OutageError) and not ledger.is_lost(error):
                logger.exception("a beat failed; leases are renewed by the next one")
            elif not self._silent:
                logger.warning("the heartbeat cannot reach the database: %s", error)
            self._silent = True
            self._session = self._watch.connection = None
            connections[ledger.alias()].close()

    # ── one beat ────────────────────────────────────────────────────────────────────────────────────

    def _beat(self) -> None:
        process = self._process
        began = time.monotonic()
        self._note_if_late(process.last_beat or began)
        session = self._session or self._open_session()
        executions = {execution.claim.run.id: execution for execution in process.executions()}
        leases = [(run_id, execution.claim.token) for run_id, execution in executions.items()]
        if leases:
            for beat in ledger.renew(leases, session=session, draining=process.draining):
                self._heed(executions[beat.run_id], beat)
        else:
            ledger.beat_idly()
        self._note_if_late(began)  # it waited, as others' renewals do where somebody has locked the table
        process.beaten(session)
        if session.pid is not None:
            self._watch.look(connections[ledger.alias()])
        for execution in executions.values():
            if execution.fence.progressed:
                process.gate.admit_others(execution.admission)
            self._write_timeline(execution)
        tally().write(ledger.alias(), django=True)  # the pool's connections may all be busy

    def _note_if_late(self, since: float) -> None:
        """A process that was late itself judges nobody for one lease (R9)."""
        now = time.monotonic()
        if now - since > settings().HEARTBEAT * LATE:
            self._judge_after = now + settings().LEASE

    def _open_session(self) -> Session:
        connection = connections[ledger.alias()]
        limit_waits(connection)
        connection.ensure_connection()
        if not shares_sessions(connection.alias):
            lift_time_limits(connection)
        self._watch.connection = connection.connection
        session = ledger.open_session()
        if session.pid is None:
            logger.info("a connection pooler shares sessions; lost leases are found by expiry only")
        self._session = session
        return session

    def _heed(self, execution: Execution, beat: Beat) -> None:
        now = time.monotonic()
        if not beat.held:
            if not execution.settling:
                self._outlived(execution, now)
            return
        execution.lost_since = None
        if not beat.cancel:
            return
        if execution.cancel_since is None:
            execution.cancel_since = now
            execution.control.request_drain("cancel")
        if beat.rollback or now - execution.cancel_since > settings().GRACE:
            try:
                revoked = ledger.revoke(execution.claim, rollback=beat.rollback)
            except LeaseLostError:
                pass  # it ended by itself in this moment
            else:
                execution.fence.give_up()
                announce_apart(revoked)
                sweep.after_revoke(execution.claim.run.thread_id)

    def _outlived(self, execution: Execution, now: float) -> None:
        execution.fence.give_up()
        execution.control.request_drain("lease lost")
        if execution.lost_since is None:
            execution.lost_since = now
            logger.warning("run %s belongs to another attempt by now", execution.claim.run.id)
        over = now - execution.lost_since - settings().GRACE
        if over > 0:
            self._process.drain()
            others = [other for other in self._process.executions() if other.lost_since is None]
            if not others or over > settings().GRACE:
                logger.error(
                    "run %s outlived its lease by the grace; this process exits", execution.claim.run.id
                )
                os._exit(EXIT_OUTLIVED)

    def _write_timeline(self, execution: Execution) -> None:
        lines = execution.timeline.take()
        try:
            ledger.record_steps(execution.claim, lines)
        except ledger.DATABASE_ERRORS:
            execution.timeline.put_back(lines)
            raise

    def _sweep(self) -> None:
        try:
            sweep.sweep(self._process, judge=time.monotonic() >= self._judge_after)
        except (*ledger.DATABASE_ERRORS, OutageError):
            raise
        except Exception:  # a row that was damaged by hand must not take the process's own runs with it
            logger.exception("a sweep failed; the next one goes on")
