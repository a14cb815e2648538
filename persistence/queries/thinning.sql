-- Which checkpoints of a thread go, and which have to stay with those that stay (saver/thinning.py; P10, R20).
-- None of these joins two sets of a thread's rows: such a join is planned from what is known of the average
-- thread, and on the few long ones, which are worth thinning, it would look at each pair. LATERAL with OFFSET 0
-- or LIMIT looks a row up by its primary key, whatever the planner expects; NOT IN hashes.

-- name: thread_outline
-- All checkpoints of the thread: where each stands, the root checkpoint that its subgraph call started from, its
-- run, whether its sends stand with its parent (before format 4), and which of its channels are DeltaChannels by
-- what it shows itself: counters in the metadata, or snapshots, which are blobs behind an inline `true`. LangGraph.js
-- only marks that there are some: then each channel counts.
SELECT c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,
       c.metadata -> 'parents' ->> '' AS root, c.metadata ->> 'run_id' AS run_id,
       (c.checkpoint ->> 'v')::int < 4 AND EXISTS (
           SELECT FROM checkpoint_writes w
           WHERE w.thread_id = c.thread_id AND w.checkpoint_ns = c.checkpoint_ns
             AND w.checkpoint_id = c.parent_checkpoint_id AND w.channel = '__pregel_tasks'
           OFFSET 0
       ) AS sent_by_parent,
       ARRAY (
           SELECT jsonb_object_keys(c.metadata -> 'counters_since_delta_snapshot')
           UNION
           SELECT jsonb_object_keys(c.checkpoint -> 'channel_versions')
           WHERE c.metadata ? 'delta_writes_versioned'
           UNION
           SELECT held.key
           FROM jsonb_each(c.checkpoint -> 'channel_values') AS held
           CROSS JOIN LATERAL (
               SELECT FROM checkpoint_blobs b
               WHERE b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns AND b.channel = held.key
                 AND b.version = c.checkpoint -> 'channel_versions' ->> held.key
               LIMIT 1
           ) AS snapshot
           WHERE held.value = 'true'::jsonb
       ) AS deltas
FROM checkpoints c
WHERE c.thread_id = %(thread_id)s::text;

-- name: thread_begun_on
-- The first checkpoint of the last run that entered the thread, unless it succeeded: a rollback leads back to the
-- one before. Asked after the outline: a run that enters later than that begins on the newest checkpoint there.
SELECT last.checkpoint_id FROM (
    SELECT e.checkpoint_id, r.status
    FROM holdfast_run r JOIN holdfast_entry e ON e.run_id = r.id
    WHERE r.thread_id = %(thread_id)s::text ORDER BY e.checkpoint_id DESC LIMIT 1
) AS last WHERE last.status <> 'succeeded';

-- name: thread_rebuilt
-- Which of the %(channels)s each checkpoint of the namespace does not store, and which of those it has a version
-- of, so that their value is rebuilt from its ancestors.
SELECT c.checkpoint_id, missing.channels, ARRAY (
    SELECT channel FROM unnest(missing.channels) AS channel WHERE c.checkpoint -> 'channel_versions' ? channel
) AS rebuilt
FROM checkpoints c
CROSS JOIN LATERAL (
    SELECT ARRAY (
        SELECT wanted.channel FROM unnest(%(channels)s::text[]) AS wanted (channel)
        WHERE NOT c.checkpoint -> 'channel_values' ? wanted.channel
          AND NOT EXISTS (
              SELECT FROM checkpoint_blobs b
              WHERE b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns AND b.channel = wanted.channel
                AND b.version = c.checkpoint -> 'channel_versions' ->> wanted.channel AND b.type <> 'empty'
              OFFSET 0)
    ) AS channels
) AS missing
WHERE c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = %(checkpoint_ns)s::text;

-- name: thread_delete_some
-- Deletes these checkpoints of the thread with their writes, and the values that only they referred to; a child
-- that stays has no parent then. One snapshot: a checkpoint that is saved meanwhile, and what it refers to, is
-- neither seen nor deleted, since it refers to its parent's values or brings its own.
WITH doomed AS MATERIALIZED (
    SELECT c.checkpoint_ns, c.checkpoint_id, c.ctid AS place, c.checkpoint -> 'channel_versions' AS versions
    FROM unnest(%(namespaces)b::text[], %(ids)b::text[]) AS d (checkpoint_ns, checkpoint_id)
    CROSS JOIN LATERAL (
        SELECT c.*, c.ctid FROM checkpoints c
        WHERE c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = d.checkpoint_ns
          AND c.checkpoint_id = d.checkpoint_id
        LIMIT 1
    ) AS c
), freed AS MATERIALIZED (
    SELECT d.checkpoint_ns, version.key AS channel, version.value AS version
    FROM doomed d CROSS JOIN LATERAL jsonb_each_text(d.versions) AS version
    EXCEPT
    SELECT c.checkpoint_ns, version.key, version.value
    FROM checkpoints c CROSS JOIN LATERAL jsonb_each_text(c.checkpoint -> 'channel_versions') AS version
    WHERE c.thread_id = %(thread_id)s::text
      AND (c.checkpoint_ns, c.checkpoint_id) NOT IN (SELECT checkpoint_ns, checkpoint_id FROM doomed)
), blobs AS (
    DELETE FROM checkpoint_blobs WHERE ctid = ANY (ARRAY (
        SELECT b.ctid FROM freed f CROSS JOIN LATERAL (
            SELECT b.ctid FROM checkpoint_blobs b
            WHERE b.thread_id = %(thread_id)s::text AND b.checkpoint_ns = f.checkpoint_ns
              AND b.channel = f.channel AND b.version = f.version
            LIMIT 1
        ) AS b
    )) RETURNING 1
), writes AS (
    DELETE FROM checkpoint_writes WHERE ctid = ANY (ARRAY (
        SELECT w.ctid FROM doomed d CROSS JOIN LATERAL (
            SELECT w.ctid FROM checkpoint_writes w
            WHERE w.thread_id = %(thread_id)s::text AND w.checkpoint_ns = d.checkpoint_ns
              AND w.checkpoint_id = d.checkpoint_id
            OFFSET 0
        ) AS w
    )) RETURNING 1
), orphans AS (
    UPDATE checkpoints SET parent_checkpoint_id = NULL
    WHERE thread_id = %(thread_id)s::text
      AND (checkpoint_ns, coalesce(parent_checkpoint_id, '')) IN (SELECT checkpoint_ns, checkpoint_id FROM doomed)
      AND (checkpoint_ns, checkpoint_id) NOT IN (SELECT checkpoint_ns, checkpoint_id FROM doomed)
), gone AS (
    DELETE FROM checkpoints WHERE ctid = ANY (ARRAY (SELECT place FROM doomed)) RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS checkpoints, (SELECT count(*) FROM writes) AS writes,
       (SELECT count(*) FROM blobs) AS blobs;
