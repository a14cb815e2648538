"""The life of a run, and the only writer of its status.

    enqueue ──▶ queued ──claim──▶ running ──settle──▶ succeeded | failed | cancelled
                  ▲                 │  │                              │
                  │◀── hand over ───┘  └──settle──▶ interrupted       │
                  │◀── lease lost (sweep)                │            │
                  │◀────────────── answer ───────────────┘            │
                  └◀───────────────────── retry ──────────────────────┘

Each arrow is one statement of ``queries/``, whose WHERE demands the state that it leads out of; no row
means that somebody else was first, and is told as None or as a typed error, never repaired. Nothing
here reads a state, decides, and writes. Every statement names the alias; none opens a connection of
its own. Whoever gets rows back rings for them, after the commit: nothing here sends a message.
"""

from __future__ import annotations

from holdfast.persistence.ledger.attempts import (
    claim,
    freed_thread,
    hand_over,
    pass_on,
    renew,
    revoke,
    settle,
    wants_solitude,
)
from holdfast.persistence.ledger.inserts import Inserted, insert, insert_alone, stands_alone
from holdfast.persistence.ledger.questions import answer_states, questions_held
from holdfast.persistence.ledger.requests import (
    answer,
    get,
    glance,
    request_cancel,
    requeue_updated,
    retry,
    retry_obstacle,
    runs,
)
from holdfast.persistence.ledger.rows import bell, first_bell, shown_error
from holdfast.persistence.ledger.sessions import beat_idly, open_session
from holdfast.persistence.ledger.statements import (
    DATABASE_ERRORS,
    alias,
    is_lost,
    outlasting,
    pooled,
    retried,
)
from holdfast.persistence.ledger.sweeps import (
    Lost,
    apply_cancels,
    bells,
    drop_stale_requests,
    histories_due,
    roll_back,
    sweep_deadlines,
    sweep_lost,
)
from holdfast.persistence.ledger.threads import (
    backend_of,
    fork_thread,
    graph_of,
    has_checkpoints,
    has_effect_since,
    has_state,
    holder,
    lock_thread,
    new_thread_elsewhere,
    note_backend,
    threads_with_checkpoints,
    update_obstacle,
)
from holdfast.persistence.ledger.timeline import record_steps, steps

__all__ = [
    "DATABASE_ERRORS",
    "Inserted",
    "Lost",
    "alias",
    "answer",
    "answer_states",
    "apply_cancels",
    "backend_of",
    "beat_idly",
    "bell",
    "bells",
    "claim",
    "drop_stale_requests",
    "first_bell",
    "fork_thread",
    "freed_thread",
    "get",
    "glance",
    "graph_of",
    "hand_over",
    "has_checkpoints",
    "has_effect_since",
    "has_state",
    "histories_due",
    "holder",
    "insert",
    "insert_alone",
    "is_lost",
    "lock_thread",
    "new_thread_elsewhere",
    "note_backend",
    "open_session",
    "outlasting",
    "pass_on",
    "pooled",
    "questions_held",
    "record_steps",
    "renew",
    "request_cancel",
    "requeue_updated",
    "retried",
    "retry",
    "retry_obstacle",
    "revoke",
    "roll_back",
    "runs",
    "settle",
    "shown_error",
    "stands_alone",
    "steps",
    "sweep_deadlines",
    "sweep_lost",
    "threads_with_checkpoints",
    "update_obstacle",
    "wants_solitude",
]
