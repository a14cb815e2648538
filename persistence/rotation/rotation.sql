-- Templates of the rotation of keys. Words in braces are constants that persistence/rotation/ knows: never a value.
-- %(suffix)s is what a type ends in that is encrypted under the active key; NULL: there is none. %(readable)s are
-- the entries of metadata that are never encrypted.

-- name: rotation_count
-- How many rows are to be rewritten.
SELECT count(*) FROM {table} t WHERE {needed};

-- name: rotation_keys
-- The next rows that are to be rewritten, after the key that was the last, with the bytes of one column.
SELECT {key_of_t}, coalesce(pg_column_size({size}), 0)
FROM {table} t
WHERE (%(first)s::boolean OR ({key_of_t}) > ({after})) AND {needed}
ORDER BY {key_of_t}
LIMIT %(rows)s;

-- name: rotation_lock
-- The rows of these keys, locked against change; without those that somebody else has.
SELECT {key_of_t}, {read}
FROM unnest({keys}) AS n ({key}) JOIN {table} t ON ({key_of_t}) = ({key_of_n})
FOR NO KEY UPDATE OF t SKIP LOCKED;

-- name: rotation_write
-- Rewrites rows that are locked.
UPDATE {table} t SET {changes}
FROM unnest({keys}, {values}) AS n ({key}, {parts})
WHERE ({key_of_t}) = ({key_of_n});

-- name: stored_checkpoints
-- The channels of a checkpoint whose value stands in the blobs.
ARRAY(
    SELECT b.channel FROM jsonb_each_text(t.checkpoint -> 'channel_versions') AS v (channel, version)
    JOIN checkpoint_blobs b ON b.thread_id = t.thread_id AND b.checkpoint_ns = t.checkpoint_ns
        AND b.channel = v.channel AND b.version = v.version AND b.type <> 'empty'
) AS stored;

-- name: needed_checkpoint_blobs
(t.blob IS NOT NULL AND t.type <> 'empty' AND CASE WHEN %(suffix)s::text IS NULL
    THEN strpos(t.type, '+xaes256gcm:') > 0 ELSE right(t.type, length(%(suffix)s)) <> %(suffix)s END);

-- name: needed_checkpoint_writes
(t.type IS NOT NULL AND CASE WHEN %(suffix)s::text IS NULL
    THEN strpos(t.type, '+xaes256gcm:') > 0 ELSE right(t.type, length(%(suffix)s)) <> %(suffix)s END);

-- name: needed_holdfast_node_cache
(CASE WHEN %(suffix)s::text IS NULL
    THEN strpos(t.type, '+xaes256gcm:') > 0 ELSE right(t.type, length(%(suffix)s)) <> %(suffix)s END);

-- name: needed_holdfast_effect
((t.result IS NOT NULL AND CASE WHEN %(suffix)s::text IS NULL
    THEN strpos(t.result_type, '+xaes256gcm:') > 0 ELSE right(t.result_type, length(%(suffix)s)) <> %(suffix)s END)
 OR CASE WHEN %(suffix)s::text IS NULL THEN starts_with(t.error, 'holdfast_sealed:')
    ELSE t.error <> '' AND NOT starts_with(t.error, 'holdfast_sealed:json' || %(suffix)s || ':') END);

-- name: needed_store
(CASE WHEN %(suffix)s::text IS NULL
    THEN jsonb_typeof(t.value -> 'holdfast_sealed') = 'string' AND t.value - 'holdfast_sealed' = jsonb_build_object()
    ELSE NOT coalesce(starts_with(t.value ->> 'holdfast_sealed', 'json' || %(suffix)s || ':'), false) END);

-- name: needed_holdfast_run
-- Of a config in the clear only what says something; of an error all but its type.
(EXISTS (
    SELECT FROM (VALUES (t.input_type, t.input), (t.context_type, t.context), (t.result_type, t.result),
                        (t.answers_type, t.answers)) AS v (type, value)
    WHERE v.value IS NOT NULL AND CASE WHEN %(suffix)s::text IS NULL
        THEN strpos(v.type, '+xaes256gcm:') > 0 ELSE right(v.type, length(%(suffix)s)) <> %(suffix)s END)
 OR CASE WHEN %(suffix)s::text IS NULL THEN t.config ? 'holdfast_sealed'
    ELSE t.config <> jsonb_build_object()
        AND NOT coalesce(starts_with(t.config ->> 'holdfast_sealed', 'json' || %(suffix)s || ':'), false) END
 OR CASE WHEN jsonb_typeof(t.error) IS DISTINCT FROM 'object' THEN false
    WHEN %(suffix)s::text IS NULL THEN t.error ? 'holdfast_sealed'
    ELSE t.error - 'type' <> jsonb_build_object()
        AND NOT coalesce(starts_with(t.error ->> 'holdfast_sealed', 'json' || %(suffix)s || ':'), false) END
 OR CASE WHEN jsonb_typeof(t.questions) IS DISTINCT FROM 'array' THEN false ELSE EXISTS (
    SELECT FROM jsonb_array_elements(t.questions) AS q
    WHERE CASE WHEN %(suffix)s::text IS NULL THEN q -> 'value' ? 'holdfast_sealed'
        ELSE NOT coalesce(starts_with(q -> 'value' ->> 'holdfast_sealed', 'json' || %(suffix)s || ':'), false) END)
    END);

-- name: needed_checkpoints
-- Metadata that is not readable, and plain values that stand in the JSON; a true may be upstream's mark that a
-- snapshot stands in the blobs.
(CASE WHEN t.metadata ? 'holdfast_sealed'
    THEN NOT coalesce(starts_with(t.metadata ->> 'holdfast_sealed', 'json' || %(suffix)s || ':'), false)
    ELSE %(suffix)s::text IS NOT NULL AND EXISTS (
        SELECT FROM jsonb_object_keys(t.metadata) AS k
        WHERE k <> ALL (%(readable)s::text[]) AND NOT starts_with(k, 'holdfast_')) END
 OR (%(suffix)s::text IS NOT NULL AND EXISTS (
    SELECT FROM jsonb_each(t.checkpoint -> 'channel_values') AS v (channel, value)
    WHERE t.checkpoint -> 'channel_versions' ? v.channel
      AND NOT (v.value = to_jsonb(true) AND EXISTS (
          SELECT FROM checkpoint_blobs b
          WHERE b.thread_id = t.thread_id AND b.checkpoint_ns = t.checkpoint_ns AND b.channel = v.channel
            AND b.version = t.checkpoint -> 'channel_versions' ->> v.channel AND b.type <> 'empty')))));
