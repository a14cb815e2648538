-- What retention finds that belongs to nothing any more: writes without their checkpoint, values without a
-- thread, rows of runs that are gone; and cache entries and items of the store that have
-- expired.

-- name: retention_orphaned_threads
-- Threads with writes whose checkpoint is not there, or with values though no checkpoint is left.
SELECT thread_id FROM (
    SELECT w.thread_id FROM checkpoint_writes w
    WHERE NOT EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = w.thread_id
                      AND c.checkpoint_ns = w.checkpoint_ns AND c.checkpoint_id = w.checkpoint_id)
    UNION
    SELECT b.thread_id FROM checkpoint_blobs b
    WHERE NOT EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = b.thread_id)
) AS orphaned
WHERE thread_id > %(after)s::text
ORDER BY thread_id LIMIT %(limit)s::int;

-- name: retention_orphaned_writes
-- The checkpoints that a thread has writes of, but not the checkpoint itself.
SELECT DISTINCT w.checkpoint_id FROM checkpoint_writes w
WHERE w.thread_id = %(thread_id)s::text
  AND NOT EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = w.thread_id
                  AND c.checkpoint_ns = w.checkpoint_ns AND c.checkpoint_id = w.checkpoint_id);

-- name: retention_delete_orphaned_writes
-- The writes of those checkpoints, unless the checkpoint has come meanwhile.
WITH gone AS (
    DELETE FROM checkpoint_writes w
    WHERE w.thread_id = %(thread_id)s::text AND w.checkpoint_id = ANY (%(checkpoint_ids)s::text[])
      AND NOT EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = w.thread_id
                      AND c.checkpoint_ns = w.checkpoint_ns AND c.checkpoint_id = w.checkpoint_id)
    RETURNING 1
)
SELECT count(*) AS writes FROM gone;

-- name: retention_delete_strays
-- Rows of runs that are not there, at most %(limit)s of each sort (NULL: all). Such a row is only ever
-- written while its run is there, so none of them is on its way.
WITH effects AS (
    DELETE FROM holdfast_effect WHERE key IN (
        SELECT e.key FROM holdfast_effect e
        WHERE NOT EXISTS (SELECT FROM holdfast_run r WHERE r.id = e.run_id)
        LIMIT %(limit)s::int FOR UPDATE SKIP LOCKED)
    RETURNING 1
), entries AS (
    DELETE FROM holdfast_entry WHERE run_id IN (
        SELECT e.run_id FROM holdfast_entry e
        WHERE NOT EXISTS (SELECT FROM holdfast_run r WHERE r.id = e.run_id)
        LIMIT %(limit)s::int FOR UPDATE SKIP LOCKED)
    RETURNING 1
), steps AS (
    DELETE FROM holdfast_step WHERE id IN (
        SELECT s.id FROM holdfast_step s
        WHERE NOT EXISTS (SELECT FROM holdfast_run r WHERE r.id = s.run_id)
        LIMIT %(limit)s::int FOR UPDATE SKIP LOCKED)
    RETURNING 1
), requests AS (
    DELETE FROM holdfast_cancel_request WHERE run_id IN (
        SELECT c.run_id FROM holdfast_cancel_request c
        WHERE NOT EXISTS (SELECT FROM holdfast_run r WHERE r.id = c.run_id)
        LIMIT %(limit)s::int FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT (SELECT count(*) FROM effects) AS effects, (SELECT count(*) FROM entries) AS entries,
       (SELECT count(*) FROM steps) AS steps, (SELECT count(*) FROM requests) AS cancel_requests;

-- name: retention_delete_cache
-- Expired cache entries, and those of the graphs that are known here under a version that is no longer registered and
-- was not used for a day (until then workers of an earlier deploy may use it), at most %(limit)s (NULL: all). One that
-- is renewed meanwhile stays. With them the leads that were left when their runs' attempts ended.
WITH flights AS (
    DELETE FROM holdfast_node_flight WHERE slot IN (
        SELECT f.slot FROM holdfast_node_flight f
        WHERE f.begun_at < holdfast_now() - interval '1 hour' AND NOT EXISTS (
            SELECT FROM holdfast_run r WHERE r.id = f.run_id AND r.token = f.token AND r.status = 'running')
        FOR UPDATE SKIP LOCKED)
), gone AS (
    DELETE FROM holdfast_node_cache WHERE id IN (
        SELECT id FROM holdfast_node_cache
        WHERE expires_at <= holdfast_now() OR (
            version <> '' AND split_part(version, '@', 1) = ANY(%(graphs)s::text[])
            AND version <> ALL(%(labels)s::text[])
            AND greatest(created_at, used_at) < holdfast_now() - interval '1 day'
        )
        LIMIT %(limit)s::int FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT count(*) AS cache_entries FROM gone;

-- name: retention_delete_store
-- Expired items of the store, at most %(limit)s (NULL: all), with their vectors. One that is renewed meanwhile stays.
WITH gone AS (
    DELETE FROM store WHERE (prefix, key) IN (
        SELECT prefix, key FROM store WHERE expires_at <= (SELECT holdfast_now())
        LIMIT %(limit)s::int FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT count(*) AS store_items FROM gone;
