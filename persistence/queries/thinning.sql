-- Which checkpoints of a thread go, and which have to stay with those that stay (the saver's prune and
-- delete_for_runs, retention.py; P10, R20).

-- name: thread_thin
-- Deletes checkpoints of the thread with their writes, and the values that only they referred to. One statement
-- and so one snapshot: a checkpoint that is saved meanwhile, and what it refers to, is neither seen nor deleted,
-- since it refers to its parent's values or brings its own.
--
-- What goes: with %(run_ids)s the checkpoints of those runs. Otherwise of the root's all but the newest %(keep)s.
-- A subgraph call, whose namespace ends in a task id, goes with the root checkpoint that it started from. Of a
-- subgraph with a memory of its own what is older than the state it had at the oldest kept root. %(heads)s: of
-- the namespaces that stay, too, only the newest.
--
-- What stays nevertheless: the ancestors from which the DeltaChannels of a kept checkpoint are rebuilt, up to the
-- one that stored the value, and the parent of a checkpoint before format 4, where its sends stand. Which channels
-- are DeltaChannels their counters in the metadata say, and their snapshots, which are blobs behind an inline
-- `true`; LangGraph.js only marks the thread, and so there each channel without a value counts.
WITH RECURSIVE known AS MATERIALIZED (
    SELECT c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,
           c.metadata -> 'parents' ->> '' AS root, c.metadata ->> 'run_id' AS run_id,
           row_number() OVER (PARTITION BY c.checkpoint_ns ORDER BY c.checkpoint_id DESC) AS place
    FROM checkpoints c
    WHERE c.thread_id = %(thread_id)s::text
), roots AS MATERIALIZED (
    SELECT checkpoint_id, coalesce(place > %(keep)s::int, false) AS goes FROM known WHERE checkpoint_ns = ''
), namespaces AS MATERIALIZED (
    SELECT checkpoint_ns,
           checkpoint_ns LIKE '%%:%%' AND bool_and(
               coalesce(root IN (SELECT checkpoint_id FROM roots WHERE goes), false)) AS goes,
           CASE WHEN %(heads)s::boolean THEN max(checkpoint_id)
                WHEN checkpoint_ns NOT LIKE '%%:%%' THEN max(checkpoint_id) FILTER (
                    WHERE checkpoint_id <= (SELECT min(checkpoint_id) FROM roots WHERE NOT goes))
           END AS oldest
    FROM known
    WHERE checkpoint_ns <> ''
    GROUP BY checkpoint_ns
), judged AS MATERIALIZED (
    SELECT k.checkpoint_ns, k.checkpoint_id, k.parent_checkpoint_id,
           CASE WHEN %(run_ids)s::text[] IS NOT NULL THEN coalesce(k.run_id = ANY (%(run_ids)s::text[]), false)
                WHEN k.checkpoint_ns = '' THEN r.goes
                ELSE n.goes OR coalesce(k.checkpoint_id < n.oldest, false)
           END AS goes
    FROM known k
    LEFT JOIN roots r ON k.checkpoint_ns = '' AND r.checkpoint_id = k.checkpoint_id
    LEFT JOIN namespaces n ON n.checkpoint_ns = k.checkpoint_ns
), kept AS MATERIALIZED (
    SELECT checkpoint_ns, checkpoint_id FROM judged WHERE NOT goes
), deltas AS MATERIALIZED (
    SELECT DISTINCT c.checkpoint_ns, found.channel
    FROM checkpoints c
    CROSS JOIN LATERAL (
        SELECT jsonb_object_keys(c.metadata -> 'counters_since_delta_snapshot') AS channel
        UNION ALL
        SELECT version.key FROM jsonb_each_text(c.checkpoint -> 'channel_versions') AS version
        WHERE c.metadata ? 'delta_writes_versioned'
        UNION ALL
        SELECT held.key
        FROM jsonb_each(c.checkpoint -> 'channel_values') AS held
        JOIN checkpoint_blobs b
          ON b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns AND b.channel = held.key
         AND b.version = c.checkpoint -> 'channel_versions' ->> held.key
        WHERE held.value = 'true'::jsonb
    ) AS found
    WHERE c.thread_id = %(thread_id)s::text
), needed AS (
    SELECT k.checkpoint_ns, c.parent_checkpoint_id AS checkpoint_id, wanted.open
    FROM kept k
    JOIN checkpoints c
      ON c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = k.checkpoint_ns
     AND c.checkpoint_id = k.checkpoint_id
    CROSS JOIN LATERAL (
        SELECT array_agg(d.channel) AS open FROM deltas d
        WHERE d.checkpoint_ns = k.checkpoint_ns
          AND c.checkpoint -> 'channel_versions' ? d.channel
          AND NOT c.checkpoint -> 'channel_values' ? d.channel
          AND NOT EXISTS (
              SELECT FROM checkpoint_blobs b
              WHERE b.thread_id = %(thread_id)s::text AND b.checkpoint_ns = k.checkpoint_ns AND b.channel = d.channel
                AND b.version = c.checkpoint -> 'channel_versions' ->> d.channel AND b.type <> 'empty')
    ) AS wanted
    WHERE c.parent_checkpoint_id IS NOT NULL
      AND (wanted.open IS NOT NULL OR (c.checkpoint ->> 'v')::int < 4 AND EXISTS (
          SELECT FROM checkpoint_writes w
          WHERE w.thread_id = %(thread_id)s::text AND w.checkpoint_ns = k.checkpoint_ns
            AND w.checkpoint_id = c.parent_checkpoint_id AND w.channel = '__pregel_tasks'))
    UNION
    SELECT a.checkpoint_ns, c.parent_checkpoint_id, wanted.open
    FROM needed a
    JOIN checkpoints c
      ON c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = a.checkpoint_ns
     AND c.checkpoint_id = a.checkpoint_id
    CROSS JOIN LATERAL (
        SELECT array_agg(o.channel) AS open FROM unnest(a.open) AS o (channel)
        WHERE NOT c.checkpoint -> 'channel_values' ? o.channel
          AND NOT EXISTS (
              SELECT FROM checkpoint_blobs b
              WHERE b.thread_id = %(thread_id)s::text AND b.checkpoint_ns = a.checkpoint_ns AND b.channel = o.channel
                AND b.version = c.checkpoint -> 'channel_versions' ->> o.channel AND b.type <> 'empty')
    ) AS wanted
    WHERE c.parent_checkpoint_id IS NOT NULL AND wanted.open IS NOT NULL
      AND (c.checkpoint_ns, c.checkpoint_id) NOT IN (SELECT checkpoint_ns, checkpoint_id FROM kept)
), doomed AS MATERIALIZED (
    SELECT checkpoint_ns, checkpoint_id FROM judged
    WHERE goes AND (checkpoint_ns, checkpoint_id) NOT IN (SELECT checkpoint_ns, checkpoint_id FROM needed)
), freed AS MATERIALIZED (
    SELECT DISTINCT c.checkpoint_ns, version.key AS channel, version.value AS version
    FROM doomed d
    JOIN checkpoints c
      ON c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = d.checkpoint_ns
     AND c.checkpoint_id = d.checkpoint_id
    CROSS JOIN LATERAL jsonb_each_text(c.checkpoint -> 'channel_versions') AS version
    EXCEPT
    SELECT c.checkpoint_ns, version.key, version.value
    FROM checkpoints c
    CROSS JOIN LATERAL jsonb_each_text(c.checkpoint -> 'channel_versions') AS version
    WHERE c.thread_id = %(thread_id)s::text
      AND (c.checkpoint_ns, c.checkpoint_id) NOT IN (SELECT checkpoint_ns, checkpoint_id FROM doomed)
), blobs AS (
    DELETE FROM checkpoint_blobs b USING freed f
    WHERE b.thread_id = %(thread_id)s::text AND b.checkpoint_ns = f.checkpoint_ns
      AND b.channel = f.channel AND b.version = f.version
    RETURNING 1
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
      AND (c.checkpoint_ns, c.checkpoint_id) NOT IN (SELECT checkpoint_ns, checkpoint_id FROM doomed)
), gone AS (
    DELETE FROM checkpoints c USING doomed d
    WHERE c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = d.checkpoint_ns
      AND c.checkpoint_id = d.checkpoint_id
    RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS checkpoints, (SELECT count(*) FROM writes) AS writes,
       (SELECT count(*) FROM blobs) AS blobs;
