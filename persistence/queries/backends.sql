-- Runs whose checkpoints are kept elsewhere than in this database (persistence/backends/lease.py; P2, R5, R12).

-- name: backend_check
-- Whether the lease is still the writer's; 0: another attempt owns the run. Locks nothing, since the write that
-- follows is not in this transaction.
SELECT count(*) FROM holdfast_run
WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running';

-- name: backend_note
-- A write of the run is stored: one more for the marker of its progress (R12). With a checkpoint's id it is the
-- first one: the run's input has been applied (R5), and the thread is where the backend is.
WITH fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running'
    FOR KEY SHARE
), entry AS (
    INSERT INTO holdfast_entry (run_id, thread_id, checkpoint_id, progress)
    SELECT fence.id, %(thread_id)s::text, %(checkpoint_id)s::text, 1
    FROM fence WHERE %(checkpoint_id)s::text IS NOT NULL
    ON CONFLICT (run_id) DO NOTHING
), further AS (
    UPDATE holdfast_entry e SET progress = e.progress + 1
    FROM fence WHERE e.run_id = fence.id AND %(checkpoint_id)s::text IS NULL
), place AS (
    UPDATE holdfast_thread t SET backend = %(backend)s::text
    FROM fence
    WHERE %(checkpoint_id)s::text IS NOT NULL AND t.id = %(thread_id)s::text
        AND t.backend IS DISTINCT FROM %(backend)s::text
)
SELECT count(*) FROM fence;

-- name: backend_of_thread
-- Where the thread's checkpoints are; NULL, or no row: in this database.
SELECT backend FROM holdfast_thread WHERE id = %(thread_id)s::text;

-- name: backend_new_thread
-- A thread that a fork makes elsewhere; no row: it exists already.
INSERT INTO holdfast_thread (id, created_at, backend)
VALUES (%(thread_id)s::text, holdfast_now(), %(backend)s::text)
ON CONFLICT DO NOTHING RETURNING id;

-- name: backend_effect_since
-- Whether the run has begun an effect after its newest checkpoint elsewhere was made.
SELECT EXISTS (
    SELECT FROM holdfast_effect WHERE run_id = %(run_id)s::uuid AND begun_at > %(moment)s::timestamptz
) AS found;

-- name: backend_moved
-- Where the thread's checkpoints are from now on. One that is here needs no row.
WITH known AS (
    UPDATE holdfast_thread SET backend = %(backend)s::text WHERE id = %(thread_id)s::text RETURNING id
)
INSERT INTO holdfast_thread (id, created_at, backend)
SELECT %(thread_id)s::text, holdfast_now(), %(backend)s::text
WHERE %(backend)s::text IS NOT NULL AND NOT EXISTS (SELECT FROM known)
ON CONFLICT (id) DO UPDATE SET backend = excluded.backend;

-- name: backend_threads_here
-- The threads that have checkpoints in this database.
SELECT DISTINCT thread_id FROM checkpoints;

-- name: backend_left
-- Nothing of the thread is left elsewhere.
UPDATE holdfast_thread SET backend = NULL WHERE id = %(thread_id)s::text;

-- name: backend_runs
-- The runs of the thread: whose types its checkpoints elsewhere may hold, and what of them stays once they have ended.
SELECT id::text, graph, version, history, status IN ('succeeded', 'failed', 'cancelled') AS ended
FROM holdfast_run WHERE thread_id = %(thread_id)s::text;
