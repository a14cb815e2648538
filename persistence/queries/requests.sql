-- What people ask of a run: to be made, answered, retried, cancelled. Written by the ledger only
-- (ledger/requests.py). A statement that changes a run demands, in its WHERE, the state that it leads out
-- of: no row means that somebody else was first.

-- name: run_lock_thread
-- Serialises enqueues whose strategy looks at the thread's other runs.
SELECT id FROM holdfast_thread WHERE id = %(thread_id)s FOR NO KEY UPDATE;

-- name: run_insert
-- Makes the thread if it is new, holds it against retention (R20), and inserts the run. No row: the
-- idempotency key is taken, the strategy refuses, or retention has just deleted the thread. What it
-- returns is what the caller does not know.
WITH made AS (
    INSERT INTO holdfast_thread (id, created_at) VALUES (%(thread_id)s::text, holdfast_now())
    ON CONFLICT DO NOTHING RETURNING id
), held AS (
    SELECT id FROM holdfast_thread WHERE id = %(thread_id)s::text FOR KEY SHARE
), moment AS MATERIALIZED (
    SELECT holdfast_now() AS now
), due AS MATERIALIZED (
    SELECT now, coalesce(%(due_at)s::timestamptz, now + make_interval(secs => %(delay)s)) AS at FROM moment
)
INSERT INTO holdfast_run (
    id, thread_id, graph, version, status, input_type, input, context_type, context, config, metadata,
    priority, queue, multitask_strategy, idempotency_key, request_hash, not_before, deadline, created_at,
    rung_at, rings, bell_at, holds_thread, deliveries, crashes, max_crashes, draining,
    history, thin_at
)
SELECT
    %(id)s, %(thread_id)s::text, %(graph)s, %(version)s, 'queued', %(input_type)s, %(input)s, %(context_type)s,
    %(context)s, %(config)s, %(metadata)s, %(priority)s, %(queue)s, %(multitask_strategy)s::text,
    %(idempotency_key)s, %(request_hash)s, due.at,
    coalesce(%(deadline_at)s::timestamptz, due.now + make_interval(secs => %(deadline_delay)s)), due.now,
    CASE WHEN due.at <= due.now THEN due.now END, CASE WHEN due.at <= due.now THEN 1 ELSE 0 END,
    CASE WHEN due.at <= due.now THEN due.now + make_interval(secs => %(busy_seconds)s) ELSE due.at END,
    false, 0, 0, %(max_crashes)s, false,
    %(history)s::smallint, CASE WHEN %(history)s::smallint IS NOT NULL THEN due.now END
FROM due
WHERE (EXISTS (SELECT FROM made) OR EXISTS (SELECT FROM held))
    AND (%(multitask_strategy)s::text <> 'reject' OR NOT EXISTS (
        SELECT FROM holdfast_run o
        WHERE o.thread_id = %(thread_id)s::text AND o.status IN ('queued', 'running', 'interrupted')
    ))
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id, created_at, not_before, deadline;

-- name: run_insert_many
-- The same for any number of runs of the strategy `enqueue`, given as a list of JSON objects; bytes stand
-- in them as bytea's text. Threads are locked before runs and in one order everywhere (R20), and so are
-- the idempotency keys. Missing from its rows are the runs whose key is taken, by an earlier one of the
-- list too, and those whose thread retention has just deleted. (For one run it takes twice as long to plan
-- as the statement for one.)
WITH given AS MATERIALIZED (
    SELECT run.*, row_number() OVER () AS place
    FROM json_to_recordset(%(runs)s::json) AS run (
        id uuid, thread_id text, graph text, version text, input_type text, input bytea, context_type text,
        context bytea, config jsonb, metadata jsonb, priority smallint, queue text, multitask_strategy text,
        idempotency_key text, request_hash text, delay double precision, due_at timestamptz,
        deadline_delay double precision, deadline_at timestamptz, max_crashes smallint, history smallint
    )
), made AS (
    INSERT INTO holdfast_thread (id, created_at)
    SELECT thread_id, holdfast_now() FROM (SELECT DISTINCT thread_id FROM given ORDER BY thread_id) AS wanted
    ON CONFLICT DO NOTHING RETURNING id
), held AS MATERIALIZED (
    SELECT id FROM holdfast_thread WHERE id IN (SELECT thread_id FROM given) ORDER BY id FOR KEY SHARE
), moment AS MATERIALIZED (
    SELECT holdfast_now() AS now
), due AS MATERIALIZED (
    SELECT given.*, moment.now, coalesce(given.due_at, moment.now + make_interval(secs => given.delay)) AS at
    FROM given CROSS JOIN moment
    WHERE given.thread_id IN (SELECT id FROM made UNION ALL SELECT id FROM held)
)
INSERT INTO holdfast_run (
    id, thread_id, graph, version, status, input_type, input, context_type, context, config, metadata,
    priority, queue, multitask_strategy, idempotency_key, request_hash, not_before, deadline, created_at,
    rung_at, rings, bell_at, holds_thread, deliveries, crashes, max_crashes, draining,
    history, thin_at
)
SELECT
    id, thread_id, graph, version, 'queued', input_type, input, context_type, context, config, metadata,
    priority, queue, multitask_strategy, idempotency_key, request_hash, at,
    coalesce(deadline_at, now + make_interval(secs => deadline_delay)), now,
    CASE WHEN at <= now THEN now END, CASE WHEN at <= now THEN 1 ELSE 0 END,
    CASE WHEN at <= now THEN now + make_interval(secs => %(busy_seconds)s) ELSE at END,
    false, 0, 0, max_crashes, false,
    history, CASE WHEN history IS NOT NULL THEN now END
FROM due
ORDER BY idempotency_key, place
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id, created_at, not_before, deadline;

-- name: run_of_keys
-- The runs that idempotency keys have made.
SELECT * FROM holdfast_run WHERE idempotency_key = ANY(%(keys)s::text[]);

-- name: run_displace
-- Asks every unfinished run of the thread but the new one to end (strategies interrupt and rollback).
INSERT INTO holdfast_cancel_request (run_id, rollback, reason, requested_at)
SELECT id, %(rollback)s, 'displaced by run ' || (%(id)s::uuid)::text, holdfast_now()
FROM holdfast_run
WHERE thread_id = %(thread_id)s::text AND id <> %(id)s::uuid AND status IN ('queued', 'running', 'interrupted')
ON CONFLICT (run_id) DO UPDATE SET rollback = holdfast_cancel_request.rollback OR excluded.rollback;

-- name: run_get
-- What a reading of a run shows.
SELECT id, graph, version, thread_id, status, queue, priority, metadata, idempotency_key, created_at, not_before,
    deadline, started_at, finished_at, deliveries, crashes, owner, error, questions, input_type, input,
    result_type, result
FROM holdfast_run WHERE id = %(id)s;

-- name: run_glance
-- Whether a run is worth reading again, for who waits for it.
SELECT status, deliveries FROM holdfast_run WHERE id = %(id)s;

-- name: run_answer
-- Records the answers and queues the run (P13), if it still asks just what it asked when they were given:
-- the same questions, whose values may have been encrypted anew meanwhile.
-- The questions stay, those that are answered with a mark: whether an answer has been applied is seen by
-- where its question was asked (R7).
WITH thread AS MATERIALIZED (
    SELECT id FROM holdfast_thread
    WHERE id = (SELECT thread_id FROM holdfast_run WHERE id = %(id)s) FOR KEY SHARE
)
UPDATE holdfast_run r SET
    status = 'queued', answers_type = %(answers_type)s, answers = %(answers)s,
    questions = (
        SELECT jsonb_agg(CASE WHEN asked.question ->> 'id' = ANY (%(answered)s::text[])
                         THEN asked.question || '{"given": true}' ELSE asked.question END ORDER BY asked.position)
        FROM jsonb_array_elements(r.questions) WITH ORDINALITY AS asked (question, position)
    ),
    not_before = holdfast_now(), rung_at = holdfast_now(), rings = 1,
    bell_at = holdfast_now() + make_interval(secs => %(busy_seconds)s)
FROM thread
WHERE r.id = %(id)s AND r.thread_id = thread.id AND r.status = 'interrupted'
    AND %(questions)s::jsonb = (
        SELECT jsonb_agg(asked.question - 'value' ORDER BY asked.position)
        FROM jsonb_array_elements(r.questions) WITH ORDINALITY AS asked (question, position)
    )
RETURNING r.*;

-- name: run_requeue_updated
-- Queues an interrupted run after its thread's state was written, without questions or answers: those
-- that were open belong to a checkpoint that is no longer the newest (R5). The caller holds the thread.
UPDATE holdfast_run SET
    status = 'queued', questions = NULL, answers_type = NULL, answers = NULL,
    not_before = holdfast_now(), rung_at = holdfast_now(), rings = 1,
    bell_at = holdfast_now() + make_interval(secs => %(busy_seconds)s)
WHERE id = %(id)s AND status = 'interrupted' AND %(questions)s::jsonb = (
    SELECT jsonb_agg(asked.question - 'value' ORDER BY asked.position)
    FROM jsonb_array_elements(questions) WITH ORDINALITY AS asked (question, position)
)
RETURNING *;

-- name: run_retry
-- Queues an ended run again. Refused once a later run has entered its thread, its own checkpoints are gone
-- (R5), or it was rolled back after effects, which would happen again under new keys (P4). One that has
-- entered holds its thread from now on, so that nobody enters before it goes on; the unique index refuses
-- that while another holds it.
WITH thread AS MATERIALIZED (
    SELECT id FROM holdfast_thread
    WHERE id = (SELECT thread_id FROM holdfast_run WHERE id = %(id)s) FOR KEY SHARE
), retried AS (
    UPDATE holdfast_run r SET
        status = 'queued', finished_at = NULL, error = NULL, questions = NULL, answers_type = NULL,
        answers = NULL, crashes = 0, crash_marker = NULL, deadline = NULL, not_before = holdfast_now(),
        holds_thread = EXISTS (SELECT FROM holdfast_entry mine WHERE mine.run_id = r.id),
        rung_at = holdfast_now(), rings = 1,
        bell_at = holdfast_now() + make_interval(secs => %(busy_seconds)s),
        thin_at = CASE WHEN r.history IS NOT NULL THEN holdfast_now() END
    FROM thread
    WHERE r.id = %(id)s AND r.thread_id = thread.id AND r.status IN ('failed', 'cancelled')
        AND NOT r.holds_thread
        AND (EXISTS (SELECT FROM holdfast_entry mine WHERE mine.run_id = r.id)
            OR NOT EXISTS (SELECT FROM holdfast_effect e WHERE e.run_id = r.id))
        AND NOT EXISTS (
        SELECT FROM holdfast_entry mine
        WHERE mine.run_id = r.id AND (
            EXISTS (
                SELECT FROM holdfast_entry later
                WHERE later.thread_id = r.thread_id AND later.run_id <> r.id
                    AND later.checkpoint_id > mine.checkpoint_id
            )
            OR NOT EXISTS (SELECT FROM holdfast_thread t WHERE t.id = r.thread_id AND t.backend IS NOT NULL)
            AND NOT EXISTS (
                SELECT FROM checkpoints c
                WHERE c.thread_id = r.thread_id AND c.checkpoint_ns = '' AND c.checkpoint_id >= mine.checkpoint_id
            )
        )
    )
    RETURNING r.*
), request AS (
    DELETE FROM holdfast_cancel_request c USING retried WHERE c.run_id = retried.id
)
SELECT * FROM retried;

-- name: run_retry_obstacle
-- Why a retry was refused.
SELECT r.status, r.holds_thread,
    (SELECT other.id FROM holdfast_run other
        WHERE other.thread_id = r.thread_id AND other.holds_thread AND other.id <> r.id) AS holder,
    (SELECT later.run_id FROM holdfast_entry later JOIN holdfast_entry mine ON mine.run_id = r.id
        WHERE later.thread_id = r.thread_id AND later.run_id <> r.id
            AND later.checkpoint_id > mine.checkpoint_id
        ORDER BY later.checkpoint_id LIMIT 1) AS later_run,
    NOT EXISTS (SELECT FROM holdfast_entry mine WHERE mine.run_id = r.id) AS rolled_back
FROM holdfast_run r WHERE r.id = %(id)s;

-- name: run_request_cancel
-- Asks for a run's end without touching its row (R11, R14). No row: it has ended, or never was.
INSERT INTO holdfast_cancel_request (run_id, rollback, reason, requested_at)
SELECT id, %(rollback)s, %(reason)s, holdfast_now() FROM holdfast_run
WHERE id = %(id)s AND status IN ('queued', 'running', 'interrupted')
ON CONFLICT (run_id) DO UPDATE SET rollback = holdfast_cancel_request.rollback OR excluded.rollback
RETURNING run_id;
