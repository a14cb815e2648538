-- Threads as a whole: its lock, who holds it, which graph it belongs to, its copy, what is deleted of it
-- (ledger/threads.py, ledger/sweeps.py, retention/, the saver; R4, R5, R20).

-- name: thread_lock
-- Alone on the thread: enqueue, claim, resume, retry, fork, update_state and retention wait (R20).
SELECT id FROM holdfast_thread WHERE id = %(thread_id)s::text FOR UPDATE;

-- name: thread_lock_if_free
-- The same without waiting; no row: somebody has it.
SELECT id FROM holdfast_thread WHERE id = %(thread_id)s::text FOR UPDATE SKIP LOCKED;

-- name: thread_holder
-- The run that holds the thread (R4), or else one that executes on it.
SELECT * FROM holdfast_run
WHERE thread_id = %(thread_id)s AND (holds_thread OR status = 'running') LIMIT 1;

-- name: thread_has_state
-- Whether the thread has a checkpoint, or a run that makes one before a new run's turn comes.
SELECT EXISTS (SELECT FROM checkpoints WHERE thread_id = %(thread_id)s)
    OR EXISTS (SELECT FROM holdfast_run WHERE thread_id = %(thread_id)s)
    OR EXISTS (SELECT FROM holdfast_thread WHERE id = %(thread_id)s AND backend IS NOT NULL) AS has_state;

-- name: thread_has_checkpoints
-- Whether checkpoints of the thread are here.
SELECT EXISTS (SELECT FROM checkpoints WHERE thread_id = %(thread_id)s) AS has_checkpoints;

-- name: thread_graph
-- Which graph the thread belongs to: that of its newest run, or of the run that made its newest checkpoint; a
-- forked thread has such ones from its source, and updates of its own that no run made.
SELECT graph, version FROM (
    SELECT 1 AS rank, graph, version, created_at FROM holdfast_run WHERE thread_id = %(thread_id)s
    UNION ALL
    SELECT 2, r.graph, r.version, r.created_at FROM holdfast_run r WHERE r.id::text = (
        SELECT c.metadata ->> 'run_id' FROM checkpoints c
        WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = '' AND c.metadata ? 'run_id' ORDER BY c.checkpoint_id DESC LIMIT 1
    )
) AS candidates ORDER BY rank, created_at DESC LIMIT 1;

-- name: thread_update_obstacle
-- What of the interrupted run's pending tasks a state update would lose: tasks with writes other than
-- questions, or with an effect in the ledger (R5). Pending is what was begun under the newest checkpoint;
-- of rows that do not tell theirs the times are compared, a worker's with the database's.
WITH newest AS MATERIALIZED (
    SELECT c.checkpoint_id AS id, (c.checkpoint ->> 'ts')::timestamptz AS made_at FROM checkpoints c
    WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = ''
    ORDER BY c.checkpoint_id DESC LIMIT 1
)
SELECT 'finished tasks' AS what FROM checkpoint_writes w
WHERE w.thread_id = %(thread_id)s AND w.checkpoint_ns = ''
    AND w.checkpoint_id = (SELECT id FROM newest)
    AND w.channel NOT IN ('__interrupt__', '__resume__', '__error__')
UNION ALL
SELECT 'effects' FROM holdfast_effect e
WHERE e.run_id = %(run_id)s AND CASE
    WHEN e.checkpoint_id IS NULL THEN e.begun_at > coalesce((SELECT made_at FROM newest), '-infinity')
    ELSE e.checkpoint_id = (SELECT id FROM newest)
END
LIMIT 1;

-- name: thread_fork
-- Copies a checkpoint with its past, values and writes to a thread that does not exist yet. The writes of
-- the checkpoint itself are results that wait for their siblings only if no checkpoint has followed it;
-- otherwise they belong to what followed, and the branch would take them for its own. `made` is 0 where
-- the target existed, `copied` where the checkpoint does not.
WITH RECURSIVE target AS (
    INSERT INTO holdfast_thread (id, created_at)
    SELECT %(target)s::text, holdfast_now()
    WHERE NOT EXISTS (SELECT FROM checkpoints WHERE thread_id = %(target)s::text)
    ON CONFLICT DO NOTHING RETURNING id
), past AS (
    SELECT c.* FROM checkpoints c
    WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = '' AND c.checkpoint_id = %(checkpoint_id)s
    UNION ALL
    SELECT c.* FROM past JOIN checkpoints c
        ON c.thread_id = past.thread_id AND c.checkpoint_ns = '' AND c.checkpoint_id = past.parent_checkpoint_id
), copied AS (
    INSERT INTO checkpoints (
        thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
    )
    SELECT target.id, past.checkpoint_ns, past.checkpoint_id, past.parent_checkpoint_id, past.type,
        past.checkpoint, past.metadata
    FROM past, target RETURNING checkpoint_id
), blobs AS (
    INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT DISTINCT ON (b.channel, b.version) target.id, '', b.channel, b.version, b.type, b.blob
    FROM target, past
    CROSS JOIN LATERAL jsonb_each_text(past.checkpoint -> 'channel_versions') AS v (channel, version)
    JOIN checkpoint_blobs b ON b.thread_id = past.thread_id AND b.checkpoint_ns = ''
        AND b.channel = v.channel AND b.version = v.version
), writes AS (
    INSERT INTO checkpoint_writes (
        thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path
    )
    SELECT target.id, '', w.checkpoint_id, w.task_id, w.idx, w.channel, w.type, w.blob, w.task_path
    FROM target, past JOIN checkpoint_writes w
        ON w.thread_id = past.thread_id AND w.checkpoint_ns = '' AND w.checkpoint_id = past.checkpoint_id
    WHERE w.checkpoint_id <> %(checkpoint_id)s OR NOT EXISTS (
        SELECT FROM checkpoints followed
        WHERE followed.thread_id = past.thread_id AND followed.checkpoint_ns = ''
            AND followed.parent_checkpoint_id = w.checkpoint_id
    )
)
SELECT (SELECT count(*) FROM target) AS made, (SELECT count(*) FROM copied) AS copied;

-- name: thread_delete_checkpoints
-- All checkpoints of the thread, in every namespace, with values and writes.
WITH writes AS (
    DELETE FROM checkpoint_writes WHERE thread_id = %(thread_id)s::text RETURNING 1
), blobs AS (
    DELETE FROM checkpoint_blobs WHERE thread_id = %(thread_id)s::text RETURNING 1
), gone AS (
    DELETE FROM checkpoints WHERE thread_id = %(thread_id)s::text RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS checkpoints, (SELECT count(*) FROM writes) AS writes,
       (SELECT count(*) FROM blobs) AS blobs;

-- name: thread_delete_unused_blobs
-- Values of the thread that none of its checkpoints refers to any more; the caller holds the thread, since a
-- checkpoint in flight may refer to one (R20).
WITH used AS MATERIALIZED (
    SELECT DISTINCT c.checkpoint_ns, version.key AS channel, version.value AS version
    FROM checkpoints c CROSS JOIN LATERAL jsonb_each_text(c.checkpoint -> 'channel_versions') AS version
    WHERE c.thread_id = %(thread_id)s::text
), gone AS (
    DELETE FROM checkpoint_blobs b
    WHERE b.thread_id = %(thread_id)s::text
      AND NOT EXISTS (SELECT FROM used u WHERE u.checkpoint_ns = b.checkpoint_ns
                      AND u.channel = b.channel AND u.version = b.version)
    RETURNING 1
)
SELECT count(*) AS blobs FROM gone;

-- name: thread_drop_each
-- As thread_drop, of any number of threads.
DELETE FROM holdfast_thread t
WHERE t.id = ANY(%(thread_ids)s::text[]) AND t.backend IS NULL
  AND NOT EXISTS (SELECT FROM holdfast_run r WHERE r.thread_id = t.id)
  AND NOT EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = t.id);

-- name: thread_drop
-- The row of a thread of which nothing is left.
DELETE FROM holdfast_thread t
WHERE t.id = %(thread_id)s::text AND t.backend IS NULL
  AND NOT EXISTS (SELECT FROM holdfast_run r WHERE r.thread_id = t.id)
  AND NOT EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = t.id);
