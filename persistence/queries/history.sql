-- What of an ended run's checkpoints stays, as its graph was registered with history= (persistence/retention/history.py).
-- `thin_at` of a run says from when on that may be looked at; NULL: it has been done, or all of them stay.

-- name: history_due
-- The threads on which a run has ended since its checkpoints were last thinned out.
SELECT DISTINCT thread_id FROM (
    SELECT thread_id FROM holdfast_run
    WHERE thin_at <= (SELECT holdfast_now()) AND status IN ('succeeded', 'failed', 'cancelled')
    ORDER BY thin_at LIMIT %(limit)s::int
) AS due;

-- name: history_look
-- Asked under the lock of the thread (R20): where its checkpoints are, its ended runs that are due, its newest
-- checkpoint, if that is here, and whether one of the thread's own runs wrote it.
SELECT holdfast_now() AS now, newest.checkpoint_id AS newest, coalesce(newest.fenced, false) AS fenced,
(SELECT backend FROM holdfast_thread WHERE id = %(thread_id)s::text) AS backend, ARRAY (
    SELECT id FROM holdfast_run
    WHERE thread_id = %(thread_id)s::text AND thin_at IS NOT NULL AND status IN ('succeeded', 'failed', 'cancelled')
) AS due
FROM (SELECT) AS always LEFT JOIN LATERAL (
    SELECT c.checkpoint_id, EXISTS (
        SELECT FROM holdfast_run o
        WHERE o.thread_id = c.thread_id
          AND o.id = CASE WHEN c.metadata ->> 'run_id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                          THEN (c.metadata ->> 'run_id')::uuid END
    ) AS fenced
    FROM checkpoints c WHERE c.thread_id = %(thread_id)s::text
    ORDER BY c.checkpoint_id DESC LIMIT 1
) AS newest ON true;

-- name: history_limits
-- How many root checkpoints stay, by the run that made them; of those that are not here, and of unfinished runs, all.
SELECT made.id::text, r.history
FROM (
    SELECT DISTINCT CASE WHEN metadata ->> 'run_id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                         THEN (metadata ->> 'run_id')::uuid END AS id
    FROM checkpoints
    WHERE thread_id = %(thread_id)s::text AND checkpoint_ns = ''
) AS made
CROSS JOIN LATERAL (
    SELECT history FROM holdfast_run
    WHERE id = made.id AND thread_id = %(thread_id)s::text AND history IS NOT NULL
      AND status IN ('succeeded', 'failed', 'cancelled')
    LIMIT 1
) AS r;

-- name: history_done
-- These runs have been looked at. A run that is retried is due again at its next end.
UPDATE holdfast_run SET thin_at = NULL
WHERE id = ANY (%(run_ids)s::uuid[]) AND status IN ('succeeded', 'failed', 'cancelled');

-- name: history_later
-- The same runs are looked at again after that many seconds.
UPDATE holdfast_run SET thin_at = holdfast_now() + make_interval(secs => %(seconds)s::float8)
WHERE id = ANY (%(run_ids)s::uuid[]) AND status IN ('succeeded', 'failed', 'cancelled');
