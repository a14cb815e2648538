-- Cancelled runs that nobody executes, and the rollback of what they wrote (ledger/sweeps.py; R14, R20).

-- name: run_apply_cancels
-- Ends the runs that nobody executes and somebody wants ended (R14); with rollback the thread stays held
-- until what the run wrote is gone.
WITH wanted AS MATERIALIZED (
    SELECT r.id, c.rollback, c.reason
    FROM holdfast_cancel_request c JOIN holdfast_run r ON r.id = c.run_id
    WHERE r.status IN ('queued', 'interrupted')
    ORDER BY r.id LIMIT 500
    FOR NO KEY UPDATE OF r SKIP LOCKED
), answered AS (
    DELETE FROM holdfast_cancel_request c USING wanted WHERE c.run_id = wanted.id
)
UPDATE holdfast_run r SET
    status = 'cancelled', token = NULL, owner = NULL, finished_at = holdfast_now(), questions = NULL,
    answers_type = NULL, answers = NULL, holds_thread = r.holds_thread AND wanted.rollback,
    error = jsonb_build_object('type', 'Cancelled', 'message', wanted.reason)
FROM wanted WHERE r.id = wanted.id
RETURNING r.*;

-- name: run_drop_stale_requests
-- Requests for runs that ended by themselves meanwhile.
DELETE FROM holdfast_cancel_request c USING holdfast_run r
WHERE r.id = c.run_id AND r.status IN ('succeeded', 'failed', 'cancelled');

-- name: run_rollbacks
-- Cancelled runs that still hold their thread: a rollback is under way, or its process died in it.
SELECT id, thread_id FROM holdfast_run WHERE status = 'cancelled' AND holds_thread LIMIT 20;

-- name: run_rollback_checkpoints
-- Deletes what the run wrote: its checkpoints in every namespace, with their writes, and its mark.
WITH entry AS (
    DELETE FROM holdfast_entry WHERE run_id = %(id)s
), gone AS (
    DELETE FROM checkpoints
    WHERE thread_id = %(thread_id)s AND metadata ->> 'run_id' = %(id)s::text
    RETURNING checkpoint_ns, checkpoint_id
)
DELETE FROM checkpoint_writes w USING gone
WHERE w.thread_id = %(thread_id)s AND w.checkpoint_ns = gone.checkpoint_ns
    AND w.checkpoint_id = gone.checkpoint_id;

-- name: run_free_thread
-- Last of the rollback: the thread's next run may begin.
UPDATE holdfast_run SET holds_thread = false
WHERE id = %(id)s AND status = 'cancelled' AND holds_thread RETURNING id;
