-- Retention (R20, P10). One transaction a thread: the row of the thread is locked first, what may go is
-- looked up in a second statement, whose snapshot is younger than the lock, then it is deleted.

-- name: retention_threads
-- The next thread ids after %(after)s, of threads with a row and of threads that only have checkpoints,
-- which stock savers wrote. The recursion hops along the index from one thread to the next.
WITH RECURSIVE hop (id, n) AS (
    (SELECT thread_id, 1 FROM checkpoints WHERE thread_id > %(after)s::text ORDER BY thread_id LIMIT 1)
    UNION ALL
    SELECT (SELECT c.thread_id FROM checkpoints c WHERE c.thread_id > hop.id ORDER BY c.thread_id LIMIT 1), n + 1
    FROM hop WHERE hop.id IS NOT NULL AND n < %(limit)s::int
), known AS (
    SELECT id FROM holdfast_thread WHERE id > %(after)s::text ORDER BY id LIMIT %(limit)s::int
)
SELECT id FROM (SELECT id FROM hop WHERE id IS NOT NULL UNION SELECT id::text FROM known) AS either
ORDER BY id LIMIT %(limit)s::int;

-- name: retention_look
-- What retention has to know about threads: the newest checkpoint in any namespace and whether one of
-- the thread's own runs wrote it, the number of root checkpoints, and the runs. Unlocked it finds
-- candidates; under the lock of one thread it decides.
SELECT t.id AS thread_id, holdfast_now() AS now, r.created_at, r.backend, c.newest, c.roots,
       EXISTS (
           SELECT FROM holdfast_run o JOIN checkpoints n ON n.metadata ->> 'run_id' = o.id::text
           WHERE o.thread_id = t.id AND n.thread_id = t.id AND n.checkpoint_id = c.newest
       ) AS fenced,
       runs.total > 0 AS has_runs, coalesce(runs.unfinished, false) AS unfinished, runs.last_run, runs.oldest_end
FROM unnest(%(ids)s::text[]) AS t (id)
LEFT JOIN holdfast_thread r ON r.id = t.id
CROSS JOIN LATERAL (
    SELECT max(checkpoint_id) AS newest, count(*) FILTER (WHERE checkpoint_ns = '') AS roots
    FROM checkpoints WHERE thread_id = t.id
) AS c
CROSS JOIN LATERAL (
    SELECT count(*) AS total,
           bool_or(holds_thread OR status IN ('queued', 'running', 'interrupted')) AS unfinished,
           max(coalesce(finished_at, created_at)) AS last_run, min(finished_at) AS oldest_end
    FROM holdfast_run WHERE thread_id = t.id
) AS runs;

-- name: retention_lock_timeout
-- How long retention waits where it cannot skip a lock, in this transaction.
SELECT set_config('lock_timeout', %(ms)s::text, true);

-- name: retention_idle_limit
-- For this transaction, which idles while another backend deletes what may be much (R11). It holds a thread that
-- no run is on, and nothing else.
SELECT set_config('idle_in_transaction_session_timeout', '10min', true);

-- name: retention_adopt
-- Gives a thread that a stock saver wrote, and that is still there, the row that R20 locks.
INSERT INTO holdfast_thread (id, created_at)
SELECT %(thread_id)s::text, %(at)s::timestamptz
WHERE EXISTS (SELECT FROM checkpoints WHERE thread_id = %(thread_id)s::text)
   OR EXISTS (SELECT FROM checkpoint_writes WHERE thread_id = %(thread_id)s::text)
   OR EXISTS (SELECT FROM checkpoint_blobs WHERE thread_id = %(thread_id)s::text)
ON CONFLICT (id) DO NOTHING;

-- name: retention_delete_runs
-- Ended runs of the thread that are old enough, with everything that belongs to them.
WITH doomed AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE thread_id = %(thread_id)s::text AND status IN ('succeeded', 'failed', 'cancelled')
      AND NOT holds_thread AND finished_at < holdfast_now() - make_interval(secs => %(age)s::float8)
    ORDER BY id FOR UPDATE
), effects AS (
    DELETE FROM holdfast_effect USING doomed WHERE run_id = doomed.id RETURNING 1
), entries AS (
    DELETE FROM holdfast_entry USING doomed WHERE run_id = doomed.id RETURNING 1
), steps AS (
    DELETE FROM holdfast_step USING doomed WHERE run_id = doomed.id RETURNING 1
), requests AS (
    DELETE FROM holdfast_cancel_request USING doomed WHERE run_id = doomed.id RETURNING 1
), runs AS (
    DELETE FROM holdfast_run r USING doomed WHERE r.id = doomed.id RETURNING 1
)
SELECT (SELECT count(*) FROM runs) AS runs, (SELECT count(*) FROM effects) AS effects,
       (SELECT count(*) FROM entries) AS entries, (SELECT count(*) FROM steps) AS steps,
       (SELECT count(*) FROM requests) AS cancel_requests;
