-- The end of an attempt, and the run that its thread is free for then (ledger/attempts.py; R1, R3, R4).
-- Each demands the token and replaces or clears it: no row means that another attempt owns the run.

-- name: run_settle
-- Ends the attempt: the token goes (R1), what it was is kept for unknown commits (R3). The last lines of
-- the timeline are written with it, or not at all (P2). Nor where a crash of the server may have lost what the
-- attempt believes to have stored (%(era)s).
WITH settled AS (
    UPDATE holdfast_run SET
        status = %(status)s, token = NULL, settled_by = token, owner = NULL, draining = false,
        holds_thread = NOT %(ended)s, finished_at = CASE WHEN %(ended)s THEN holdfast_now() END,
        result_type = %(result_type)s, result = %(result)s, error = %(error)s, questions = %(questions)s,
        answers_type = NULL, answers = NULL
    WHERE id = %(id)s AND token = %(token)s AND status = 'running'
        AND (%(era)s::timestamptz IS NULL
           OR EXISTS (SELECT FROM holdfast_incarnation WHERE since = %(era)s::timestamptz)
           OR %(entry_only)s::boolean AND EXISTS (SELECT FROM holdfast_entry WHERE run_id = %(id)s::uuid))
    RETURNING *
), written AS (
    INSERT INTO holdfast_step (
        run_id, delivery, step, node, task_id, namespace, owner, started_at, finished_at, outcome
    )
    SELECT settled.id, %(delivery)s, line.step, line.node, line.task_id, line.namespace, %(owner)s,
        line.started_at, line.finished_at, line.outcome
    FROM settled, unnest(
        %(steps)s::int[], %(nodes)s::text[], %(task_ids)s::text[], %(namespaces)s::text[],
        %(started)s::timestamptz[], %(finished)s::timestamptz[], %(outcomes)s::text[]
    ) AS line (step, node, task_id, namespace, started_at, finished_at, outcome)
    ON CONFLICT (run_id, delivery, task_id)
    DO UPDATE SET finished_at = excluded.finished_at, outcome = excluded.outcome
), request AS (
    DELETE FROM holdfast_cancel_request c USING settled WHERE c.run_id = settled.id AND %(ended)s
)
SELECT * FROM settled;

-- name: run_hand_over
-- Gives the run back between two steps (R13); no crash.
UPDATE holdfast_run SET
    status = 'queued', token = NULL, settled_by = token, owner = NULL, draining = false,
    rung_at = holdfast_now(), rings = 1,
    bell_at = holdfast_now() + make_interval(secs => %(busy_seconds)s)
WHERE id = %(id)s AND token = %(token)s AND status = 'running'
RETURNING *;

-- name: run_revoke
-- Takes a cancelled run away from an executor that did not stop by itself, or at once if it is to be
-- rolled back: the token goes first, what it wrote goes next, the thread is freed last (R14).
WITH revoked AS (
    UPDATE holdfast_run SET
        status = 'cancelled', settled_by = token, token = NULL, owner = NULL, draining = false,
        finished_at = holdfast_now(), holds_thread = %(rollback)s,
        error = jsonb_build_object('type', 'Cancelled', 'message', 'cancelled while it was executed')
    WHERE id = %(id)s AND token = %(token)s AND status = 'running'
    RETURNING *
), request AS (
    DELETE FROM holdfast_cancel_request c USING revoked WHERE c.run_id = revoked.id
)
SELECT * FROM revoked;

-- name: run_settled_by
-- Whether a settle or hand-over whose commit got no answer happened (R3).
SELECT * FROM holdfast_run WHERE id = %(id)s AND settled_by = %(token)s AND token IS DISTINCT FROM %(token)s;

-- name: run_next_of_thread
-- The run that a freed thread is claimable for (R4), stamped for its bell (R15).
UPDATE holdfast_run SET rung_at = holdfast_now(), rings = 1,
    bell_at = holdfast_now() + make_interval(secs => %(busy_seconds)s)
WHERE id = (
    SELECT id FROM holdfast_run
    WHERE thread_id = %(thread_id)s AND status = 'queued' AND not_before <= holdfast_now()
    ORDER BY holds_thread DESC, created_at, id LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
) AND status = 'queued' AND NOT EXISTS (
    SELECT FROM holdfast_run o WHERE o.thread_id = %(thread_id)s AND o.holds_thread AND o.id <> holdfast_run.id
)
RETURNING *;
