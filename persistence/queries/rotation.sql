-- The rotation of keys, where it is about one table only. The templates for all are in persistence/rotation/.

-- name: rotation_lock_timeout
-- For this transaction: gives up before the server's deadlock detection would end somebody else.
SELECT set_config('lock_timeout', %(limit)s, true);

-- name: rotation_move
-- Stores the plain values of checkpoints, which stood in their JSON, as blobs. What is there stays.
INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
SELECT * FROM unnest(%(threads)s::text[], %(namespaces)s::text[], %(channels)s::text[], %(versions)s::text[],
                     %(types)s::text[], %(blobs)s::bytea[])
ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO UPDATE
SET type = EXCLUDED.type, blob = EXCLUDED.blob WHERE checkpoint_blobs.type = 'empty';

-- name: rotation_census
-- How many values are stored under which key, by column; an empty key: in the clear.
WITH typed AS (
    SELECT 'checkpoint_blobs.blob' AS place, type FROM checkpoint_blobs WHERE blob IS NOT NULL AND type <> 'empty'
    UNION ALL SELECT 'checkpoint_writes.blob', type FROM checkpoint_writes WHERE type IS NOT NULL
    UNION ALL SELECT 'holdfast_node_cache.value', type FROM holdfast_node_cache
    UNION ALL SELECT 'holdfast_effect.result', result_type FROM holdfast_effect WHERE result IS NOT NULL
    UNION ALL SELECT 'holdfast_effect.error', split_part(error, ':', 2) || ':' || split_part(error, ':', 3)
        FROM holdfast_effect WHERE starts_with(error, 'holdfast_sealed:')
    UNION ALL SELECT 'holdfast_effect.error', '' FROM holdfast_effect
        WHERE error <> '' AND NOT starts_with(error, 'holdfast_sealed:')
    UNION ALL SELECT 'holdfast_run.' || v.name, v.type FROM holdfast_run r CROSS JOIN LATERAL (
        VALUES ('input', r.input_type, r.input), ('context', r.context_type, r.context),
               ('result', r.result_type, r.result), ('answers', r.answers_type, r.answers)) AS v (name, type, value)
        WHERE v.value IS NOT NULL
), json AS (
    SELECT 'store.value' AS place, value FROM store
    UNION ALL SELECT 'holdfast_run.config', config FROM holdfast_run WHERE config <> '{}'
    UNION ALL SELECT 'holdfast_run.error', error FROM holdfast_run
        WHERE jsonb_typeof(error) = 'object' AND error - 'type' <> '{}'
    UNION ALL SELECT 'holdfast_run.questions', q -> 'value' FROM holdfast_run, jsonb_array_elements(
        CASE WHEN jsonb_typeof(questions) = 'array' THEN questions ELSE '[]' END) AS q
    UNION ALL SELECT 'checkpoints.metadata', metadata FROM checkpoints
        WHERE EXISTS (SELECT FROM jsonb_object_keys(metadata) AS k
                      WHERE k <> ALL (%(readable)s::text[])
                        AND (k = 'holdfast_sealed' OR NOT starts_with(k, 'holdfast_')))
    UNION ALL SELECT 'checkpoints.checkpoint', 'null' FROM checkpoints c
        CROSS JOIN LATERAL jsonb_each(c.checkpoint -> 'channel_values') AS v (channel, value)
        WHERE c.checkpoint -> 'channel_versions' ? v.channel AND NOT (v.value = 'true' AND EXISTS (
            SELECT FROM checkpoint_blobs b
            WHERE b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns AND b.channel = v.channel
              AND b.version = c.checkpoint -> 'channel_versions' ->> v.channel AND b.type <> 'empty'))
)
SELECT place, split_part(type, '+xaes256gcm:', 2) AS key, count(*) FROM typed GROUP BY 1, 2
UNION ALL
SELECT place, split_part(split_part(coalesce(value ->> 'holdfast_sealed', ''), '+xaes256gcm:', 2), ':', 1), count(*)
FROM json GROUP BY 1, 2
ORDER BY 1, 2;
