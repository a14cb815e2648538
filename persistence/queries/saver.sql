-- The saver: upstream's tables checkpoints, checkpoint_blobs, checkpoint_writes, and our mark
-- holdfast_entry. A fenced statement locks the run's row FOR KEY SHARE while token and status are still
-- the writer's, writes from that row, and returns how many rows the fence held: 0 means that another
-- attempt owns the run and that nothing was written (R2). The number of rows written says nothing, as a
-- repeated or empty write gives 0. All run at READ COMMITTED in autocommit mode.
--
-- Readers look rows up one by one with LATERAL and LIMIT or OFFSET 0, by their primary key. A join would be planned
-- from what is known of the average thread, and on a long one look at each pair of rows.

-- name: saver_put
-- Stores a checkpoint with the values of its changed channels. Without a fence, for use outside of a run.
WITH blobs AS (
    INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT %(thread_id)s::text, %(checkpoint_ns)s::text, b.channel, b.version, b.type, b.blob
    FROM unnest(%(channels)b::text[], %(versions)b::text[], %(types)b::text[], %(blobs)b::bytea[])
        AS b (channel, version, type, blob)
    ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
)
INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
VALUES (%(thread_id)s::text, %(checkpoint_ns)s::text, %(checkpoint_id)s::text, %(parent_id)s::text,
        %(checkpoint)s::jsonb, %(metadata)s::jsonb)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata;

-- name: saver_put_fenced
-- The same under the fence, with the pending writes (w_*) of the checkpoint before, as far as they have
-- waited for it; %(enter)s also marks that the run's input has been applied (R5). Where it is %(relaxed)s its
-- commit does not wait for the disk: a crash of the server that loses it loses all that was written with it, and
-- what follows (an effect, a question, the end) is a later commit in the same log that makes it durable.
-- Whoever outlives the crash would go on from what is lost: %(era)s, the server's incarnation that he knows,
-- refuses him then, as if another attempt had taken over. Unless all that may be lost is the run's first checkpoint,
-- %(entry_only)s, and its mark, which was committed with it, is still there.
WITH relaxed AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true) WHERE %(relaxed)s::boolean
), fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running'
      AND (%(era)s::timestamptz IS NULL
           OR EXISTS (SELECT FROM holdfast_incarnation WHERE since = %(era)s::timestamptz)
           OR %(entry_only)s::boolean AND EXISTS (SELECT FROM holdfast_entry WHERE run_id = %(run_id)s::uuid))
    FOR KEY SHARE
), blobs AS (
    INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT %(thread_id)s::text, %(checkpoint_ns)s::text, b.channel, b.version, b.type, b.blob
    FROM fence, unnest(%(channels)b::text[], %(versions)b::text[], %(types)b::text[], %(blobs)b::bytea[])
        AS b (channel, version, type, blob)
    ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
), saved AS (
    INSERT INTO checkpoints
        (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
    SELECT %(thread_id)s::text, %(checkpoint_ns)s::text, %(checkpoint_id)s::text, %(parent_id)s::text,
           %(checkpoint)s::jsonb, %(metadata)s::jsonb
    FROM fence
    ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
    DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata
), written AS (
    INSERT INTO checkpoint_writes
        (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
    SELECT %(thread_id)s::text, %(checkpoint_ns)s::text, %(parent_id)s::text, w.task_id, w.task_path,
           w.idx, w.channel, w.type, w.blob
    FROM fence, unnest(%(w_tasks)b::text[], %(w_paths)b::text[], %(w_indexes)b::int[], %(w_channels)b::text[],
                       %(w_types)b::text[], %(w_blobs)b::bytea[])
        AS w (task_id, task_path, idx, channel, type, blob)
    ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO NOTHING
), entry AS (
    INSERT INTO holdfast_entry (run_id, thread_id, checkpoint_id)
    SELECT fence.id, %(thread_id)s::text, %(checkpoint_id)s::text
    FROM fence
    WHERE %(enter)s::boolean
    ON CONFLICT (run_id) DO NOTHING
)
SELECT count(*) FROM fence LEFT JOIN relaxed ON true;

-- name: saver_put_writes
-- Stores the pending writes of tasks at one checkpoint. A repeated write keeps the first value, unless %(replace)s.
INSERT INTO checkpoint_writes
    (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
SELECT %(thread_id)s::text, %(checkpoint_ns)s::text, %(checkpoint_id)s::text, w.task_id, w.task_path,
       w.idx, w.channel, w.type, w.blob
FROM unnest(%(w_tasks)b::text[], %(w_paths)b::text[], %(w_indexes)b::int[], %(w_channels)b::text[],
            %(w_types)b::text[], %(w_blobs)b::bytea[])
    AS w (task_id, task_path, idx, channel, type, blob)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
DO UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob
WHERE %(replace)s::boolean;

-- name: saver_put_writes_fenced
-- The same under the fence.
WITH fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running'
      AND (%(era)s::timestamptz IS NULL
           OR EXISTS (SELECT FROM holdfast_incarnation WHERE since = %(era)s::timestamptz)
           OR %(entry_only)s::boolean AND EXISTS (SELECT FROM holdfast_entry WHERE run_id = %(run_id)s::uuid))
    FOR KEY SHARE
), written AS (
    INSERT INTO checkpoint_writes
        (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
    SELECT %(thread_id)s::text, %(checkpoint_ns)s::text, %(checkpoint_id)s::text, w.task_id, w.task_path,
           w.idx, w.channel, w.type, w.blob
    FROM fence, unnest(%(w_tasks)b::text[], %(w_paths)b::text[], %(w_indexes)b::int[], %(w_channels)b::text[],
                       %(w_types)b::text[], %(w_blobs)b::bytea[])
        AS w (task_id, task_path, idx, channel, type, blob)
    ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
    DO UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob
    WHERE %(replace)s::boolean
)
SELECT count(*) FROM fence;

-- name: saver_get
-- One checkpoint by its id, or the newest of the namespace, with its values and pending writes; before
-- format 4, what it sent stands with the writes of its parent.
SELECT c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,
       c.checkpoint::text, c.metadata::text,
       v.channels, v.types, v.blobs, s.types, s.blobs,
       w.task_ids, w.channels, w.types, w.blobs, w.task_paths, w.indexes
FROM checkpoints c
CROSS JOIN LATERAL (
    SELECT array_agg(b.channel) AS channels, array_agg(b.type) AS types, array_agg(b.blob) AS blobs
    FROM jsonb_each_text(c.checkpoint -> 'channel_versions') AS version
    CROSS JOIN LATERAL (
        SELECT b.channel, b.type, b.blob FROM checkpoint_blobs b
        WHERE b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns
          AND b.channel = version.key AND b.version = version.value
        LIMIT 1
    ) AS b
) v
CROSS JOIN LATERAL (
    SELECT array_agg(p.type ORDER BY p.task_path, p.task_id, p.idx) AS types,
           array_agg(p.blob ORDER BY p.task_path, p.task_id, p.idx) AS blobs
    FROM checkpoint_writes p
    WHERE (c.checkpoint ->> 'v')::int < 4
      AND p.thread_id = c.thread_id AND p.checkpoint_ns = c.checkpoint_ns
      AND p.checkpoint_id = c.parent_checkpoint_id AND p.channel = '__pregel_tasks'
) s
CROSS JOIN LATERAL (
    SELECT array_agg(p.task_id) AS task_ids, array_agg(p.channel) AS channels, array_agg(p.type) AS types,
           array_agg(p.blob) AS blobs, array_agg(p.task_path) AS task_paths, array_agg(p.idx) AS indexes
    FROM checkpoint_writes p
    WHERE p.thread_id = c.thread_id AND p.checkpoint_ns = c.checkpoint_ns
      AND p.checkpoint_id = c.checkpoint_id
) w
WHERE c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = %(checkpoint_ns)s::text
  AND c.checkpoint_id = coalesce(%(checkpoint_id)s::text, (
      SELECT n.checkpoint_id FROM checkpoints n
      WHERE n.thread_id = %(thread_id)s::text AND n.checkpoint_ns = %(checkpoint_ns)s::text
      ORDER BY n.checkpoint_id DESC LIMIT 1));

-- name: saver_keys
-- Which checkpoints there are, newest first; a filter that is NULL is none. after_* is the last one known.
SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints
WHERE (%(thread_id)s::text IS NULL OR thread_id = %(thread_id)s::text)
  AND (%(checkpoint_ns)s::text IS NULL OR checkpoint_ns = %(checkpoint_ns)s::text)
  AND (%(checkpoint_id)s::text IS NULL OR checkpoint_id = %(checkpoint_id)s::text)
  AND (%(before)s::text IS NULL OR checkpoint_id < %(before)s::text)
  AND (%(filter)s::jsonb IS NULL OR metadata @> %(filter)s::jsonb)
  AND (%(after_id)s::text IS NULL OR (checkpoint_id, thread_id, checkpoint_ns)
       < (%(after_id)s::text, %(after_thread)s::text, %(after_ns)s::text))
ORDER BY checkpoint_id DESC, thread_id DESC, checkpoint_ns DESC
LIMIT %(limit)s::bigint;

-- name: saver_rows
-- Those checkpoints, in that order, as saver_get has one.
SELECT c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,
       c.checkpoint::text, c.metadata::text,
       v.channels, v.types, v.blobs, s.types, s.blobs,
       w.task_ids, w.channels, w.types, w.blobs, w.task_paths, w.indexes
FROM unnest(%(threads)b::text[], %(namespaces)b::text[], %(ids)b::text[])
    WITH ORDINALITY AS asked (thread_id, checkpoint_ns, checkpoint_id, place)
CROSS JOIN LATERAL (
    SELECT * FROM checkpoints
    WHERE thread_id = asked.thread_id AND checkpoint_ns = asked.checkpoint_ns
      AND checkpoint_id = asked.checkpoint_id
    LIMIT 1
) AS c
CROSS JOIN LATERAL (
    SELECT array_agg(b.channel) AS channels, array_agg(b.type) AS types, array_agg(b.blob) AS blobs
    FROM jsonb_each_text(c.checkpoint -> 'channel_versions') AS version
    CROSS JOIN LATERAL (
        SELECT b.channel, b.type, b.blob FROM checkpoint_blobs b
        WHERE b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns
          AND b.channel = version.key AND b.version = version.value
        LIMIT 1
    ) AS b
) v
CROSS JOIN LATERAL (
    SELECT array_agg(p.type ORDER BY p.task_path, p.task_id, p.idx) AS types,
           array_agg(p.blob ORDER BY p.task_path, p.task_id, p.idx) AS blobs
    FROM checkpoint_writes p
    WHERE (c.checkpoint ->> 'v')::int < 4
      AND p.thread_id = c.thread_id AND p.checkpoint_ns = c.checkpoint_ns
      AND p.checkpoint_id = c.parent_checkpoint_id AND p.channel = '__pregel_tasks'
) s
CROSS JOIN LATERAL (
    SELECT array_agg(p.task_id) AS task_ids, array_agg(p.channel) AS channels, array_agg(p.type) AS types,
           array_agg(p.blob) AS blobs, array_agg(p.task_path) AS task_paths, array_agg(p.idx) AS indexes
    FROM checkpoint_writes p
    WHERE p.thread_id = c.thread_id AND p.checkpoint_ns = c.checkpoint_ns
      AND p.checkpoint_id = c.checkpoint_id
) w
ORDER BY asked.place;

-- name: saver_delta_history
-- What the DeltaChannels %(channels)s of a checkpoint are rebuilt from. Goes from parent to parent, for each
-- channel up to the first that stored its value, in a blob or inline. A row without a task is that value
-- (`seed`); the others are the writes of the ancestors on the way, that one included, as they led to the value.
-- `source` is the version of the one and the checkpoint of the others.
WITH RECURSIVE ancestor AS (
    SELECT c.parent_checkpoint_id AS checkpoint_id, 1 AS depth, %(channels)s::text[] AS open
    FROM checkpoints c
    WHERE c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = %(checkpoint_ns)s::text
      AND c.checkpoint_id = coalesce(%(checkpoint_id)s::text, (
          SELECT n.checkpoint_id FROM checkpoints n
          WHERE n.thread_id = %(thread_id)s::text AND n.checkpoint_ns = %(checkpoint_ns)s::text
          ORDER BY n.checkpoint_id DESC LIMIT 1))
    UNION ALL
    SELECT c.parent_checkpoint_id, a.depth + 1, rest.open
    FROM ancestor a
    CROSS JOIN LATERAL (
        SELECT * FROM checkpoints
        WHERE thread_id = %(thread_id)s::text AND checkpoint_ns = %(checkpoint_ns)s::text
          AND checkpoint_id = a.checkpoint_id
        LIMIT 1
    ) AS c
    CROSS JOIN LATERAL (
        SELECT array_agg(wanted.channel) AS open FROM unnest(a.open) AS wanted (channel)
        WHERE NOT c.checkpoint -> 'channel_values' ? wanted.channel
          AND NOT EXISTS (
              SELECT FROM checkpoint_blobs b
              WHERE b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns AND b.channel = wanted.channel
                AND b.version = c.checkpoint -> 'channel_versions' ->> wanted.channel AND b.type <> 'empty'
              OFFSET 0)
    ) AS rest
    WHERE rest.open IS NOT NULL
), ancestors AS MATERIALIZED (
    SELECT a.checkpoint_id, a.depth, a.open, c.checkpoint
    FROM ancestor a
    CROSS JOIN LATERAL (
        SELECT checkpoint FROM checkpoints
        WHERE thread_id = %(thread_id)s::text AND checkpoint_ns = %(checkpoint_ns)s::text
          AND checkpoint_id = a.checkpoint_id
        LIMIT 1
    ) AS c
)
SELECT wanted.channel, b.type, b.blob, (a.checkpoint -> 'channel_values' -> wanted.channel)::text AS inline,
       a.checkpoint -> 'channel_versions' ->> wanted.channel AS source, NULL::text AS task_id, NULL::text AS task_path,
       NULL::int AS idx, a.depth
FROM ancestors a
CROSS JOIN LATERAL unnest(a.open) AS wanted (channel)
LEFT JOIN LATERAL (
    SELECT type, blob FROM checkpoint_blobs
    WHERE thread_id = %(thread_id)s::text AND checkpoint_ns = %(checkpoint_ns)s::text
      AND channel = wanted.channel
      AND version = a.checkpoint -> 'channel_versions' ->> wanted.channel AND type <> 'empty'
    LIMIT 1
) AS b ON true
WHERE b.type IS NOT NULL OR a.checkpoint -> 'channel_values' ? wanted.channel
UNION ALL
SELECT w.channel, w.type, w.blob, NULL, w.checkpoint_id, w.task_id, w.task_path, w.idx, a.depth
FROM ancestors a
CROSS JOIN LATERAL (
    SELECT * FROM checkpoint_writes
    WHERE thread_id = %(thread_id)s::text AND checkpoint_ns = %(checkpoint_ns)s::text
      AND checkpoint_id = a.checkpoint_id
    OFFSET 0
) AS w
WHERE w.channel = ANY (a.open);

-- name: saver_delete_threads
-- All checkpoints of the threads, in every namespace, with values and writes.
WITH writes AS (
    DELETE FROM checkpoint_writes WHERE thread_id = ANY (%(thread_ids)s::text[])
), blobs AS (
    DELETE FROM checkpoint_blobs WHERE thread_id = ANY (%(thread_ids)s::text[])
)
DELETE FROM checkpoints WHERE thread_id = ANY (%(thread_ids)s::text[]);

-- name: saver_threads_of_runs
-- The threads that have checkpoints of these runs, by their metadata.
SELECT DISTINCT thread_id FROM checkpoints WHERE metadata ->> 'run_id' = ANY (%(run_ids)s::text[]);

-- name: saver_copy_thread
-- The whole parent chain of a thread, with values and writes, under another thread id.
WITH blobs AS (
    INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT %(target)s::text, checkpoint_ns, channel, version, type, blob
    FROM checkpoint_blobs WHERE thread_id = %(source)s::text
    ON CONFLICT DO NOTHING
), writes AS (
    INSERT INTO checkpoint_writes
        (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
    SELECT %(target)s::text, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
    FROM checkpoint_writes WHERE thread_id = %(source)s::text
    ON CONFLICT DO NOTHING
)
INSERT INTO checkpoints
    (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
SELECT %(target)s::text, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
FROM checkpoints WHERE thread_id = %(source)s::text
ON CONFLICT DO NOTHING;
