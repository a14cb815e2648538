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
-- Deletes what the run wrote: its checkpoints in every namespace, with their writes, and its mark. A run without
-- input writes its first results and the answers it was given beside the checkpoint that it goes on from: they go
-- too, or the next run would take an answer to a question of this one (R7). Unless a run of the same thread made
-- that checkpoint, whose own they may be.
WITH entry AS (
    DELETE FROM holdfast_entry WHERE run_id = %(id)s
), gone AS (
    DELETE FROM checkpoints
    WHERE thread_id = %(thread_id)s AND metadata ->> 'run_id' = %(id)s::text
    RETURNING checkpoint_ns, checkpoint_id
), origin AS (
    SELECT c.checkpoint_ns, c.checkpoint_id FROM (
        SELECT c.checkpoint_ns, c.checkpoint_id, c.metadata ->> 'run_id' AS author FROM checkpoints c
        WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = ''
            AND c.metadata ->> 'run_id' IS DISTINCT FROM %(id)s::text
        ORDER BY c.checkpoint_id DESC LIMIT 1
    ) AS c
    WHERE EXISTS (SELECT FROM holdfast_run WHERE id = %(id)s AND input IS NULL)
        AND NOT EXISTS (
            SELECT FROM holdfast_run o WHERE o.id::text = c.author AND o.thread_id = %(thread_id)s
        )
)
DELETE FROM checkpoint_writes w USING (SELECT * FROM gone UNION ALL SELECT * FROM origin) AS left_behind
WHERE w.thread_id = %(thread_id)s AND w.checkpoint_ns = left_behind.checkpoint_ns
    AND w.checkpoint_id = left_behind.checkpoint_id;

-- name: run_free_thread
-- Last of the rollback: the thread's next run may begin.
UPDATE holdfast_run SET holds_thread = false
WHERE id = %(id)s AND status = 'cancelled' AND holds_thread RETURNING id;
