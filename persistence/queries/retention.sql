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
SELECT t.id AS thread_id, holdfast_now() AS now, r.created_at, c.newest, c.roots,
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
-- How long retention waits where it cannot skip a lock.
SELECT set_config('lock_timeout', %(ms)s::text, false);

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

-- name: retention_is_delta
-- Whether a DeltaChannel is among the thread's channels, whose values are rebuilt from all ancestors:
-- it counts updates in the metadata, and its snapshots are blobs behind an inline `true`.
SELECT EXISTS (
    SELECT FROM checkpoints c
    WHERE c.thread_id = %(thread_id)s::text
      AND (c.metadata ?| ARRAY['counters_since_delta_snapshot', 'delta_writes_versioned']
           OR EXISTS (
               SELECT FROM jsonb_each(c.checkpoint -> 'channel_values') AS held
               JOIN checkpoint_blobs b
                 ON b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns AND b.channel = held.key
                AND b.version = c.checkpoint -> 'channel_versions' ->> held.key
               WHERE held.value = 'true'::jsonb))
);

-- name: retention_thin
-- Keeps the newest %(keep)s root checkpoints of a thread, and the one that the last run to enter it began
-- on, which a rollback leads back to, unless that run succeeded. And what belongs to them: the parent of one
-- that predates version 4, whose pending sends stand there; the namespaces of the subgraph calls that
-- started from a kept root, or from one that nobody knows; of a subgraph with a memory of its own,
-- whose namespace has no task id, everything since the oldest kept root, and the state it had then.
-- The rest of the checkpoints goes, with its writes; a kept checkpoint whose parent goes has none.
-- A run may be writing meanwhile. A checkpoint in flight refers to values of its parent; that is the newest
-- that this statement sees, which stays, or one in flight itself, whose own values nobody sees yet.
WITH last_entry AS MATERIALIZED (
    SELECT e.checkpoint_id, r.status
    FROM holdfast_run r JOIN holdfast_entry e ON e.run_id = r.id
    WHERE r.thread_id = %(thread_id)s::text ORDER BY e.checkpoint_id DESC LIMIT 1
), newest AS MATERIALIZED (
    (
        SELECT checkpoint_id, parent_checkpoint_id, (checkpoint ->> 'v')::int AS v
        FROM checkpoints
        WHERE thread_id = %(thread_id)s::text AND checkpoint_ns = ''
        ORDER BY checkpoint_id DESC LIMIT %(keep)s::int
    ) UNION (
        SELECT c.checkpoint_id, c.parent_checkpoint_id, (c.checkpoint ->> 'v')::int
        FROM last_entry JOIN checkpoints c
            ON c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = ''
            AND c.checkpoint_id < last_entry.checkpoint_id
        WHERE last_entry.status <> 'succeeded'
        ORDER BY c.checkpoint_id DESC LIMIT 1
    )
), kept AS MATERIALIZED (
    SELECT checkpoint_id FROM newest
    UNION SELECT parent_checkpoint_id FROM newest WHERE v < 4 AND parent_checkpoint_id IS NOT NULL
), doomed_roots AS MATERIALIZED (
    SELECT checkpoint_id FROM checkpoints
    WHERE thread_id = %(thread_id)s::text AND checkpoint_ns = ''
      AND checkpoint_id NOT IN (SELECT checkpoint_id FROM kept)
), calls AS MATERIALIZED (
    SELECT checkpoint_ns
    FROM checkpoints
    WHERE thread_id = %(thread_id)s::text AND checkpoint_ns LIKE '%%:%%'
    GROUP BY checkpoint_ns
    HAVING bool_and(coalesce(metadata -> 'parents' ->> '' IN (SELECT checkpoint_id FROM doomed_roots), false))
), memories AS MATERIALIZED (
    SELECT checkpoint_ns, max(checkpoint_id) AS oldest
    FROM checkpoints
    WHERE thread_id = %(thread_id)s::text AND checkpoint_ns <> '' AND checkpoint_ns NOT LIKE '%%:%%'
      AND checkpoint_id <= (SELECT min(checkpoint_id) FROM kept)
    GROUP BY checkpoint_ns
), doomed AS MATERIALIZED (
    SELECT '' AS checkpoint_ns, checkpoint_id FROM doomed_roots
    UNION ALL
    SELECT c.checkpoint_ns, c.checkpoint_id
    FROM checkpoints c JOIN calls USING (checkpoint_ns)
    WHERE c.thread_id = %(thread_id)s::text
    UNION ALL
    SELECT c.checkpoint_ns, c.checkpoint_id
    FROM checkpoints c JOIN memories m USING (checkpoint_ns)
    WHERE c.thread_id = %(thread_id)s::text AND c.checkpoint_id < m.oldest
), writes AS (
    DELETE FROM checkpoint_writes w USING doomed d
    WHERE w.thread_id = %(thread_id)s::text AND w.checkpoint_ns = d.checkpoint_ns
      AND w.checkpoint_id = d.checkpoint_id
    RETURNING 1
), orphans AS (
    UPDATE checkpoints c SET parent_checkpoint_id = NULL
    FROM doomed d
    WHERE c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = d.checkpoint_ns
      AND c.parent_checkpoint_id = d.checkpoint_id
      AND NOT EXISTS (SELECT FROM doomed x
                      WHERE x.checkpoint_ns = c.checkpoint_ns AND x.checkpoint_id = c.checkpoint_id)
), gone AS (
    DELETE FROM checkpoints c USING doomed d
    WHERE c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = d.checkpoint_ns
      AND c.checkpoint_id = d.checkpoint_id
    RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS checkpoints, (SELECT count(*) FROM writes) AS writes;
