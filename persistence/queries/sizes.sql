-- How much is stored, for people who look.

-- name: size_of_thread
-- Checkpoints of a thread, and the bytes that they, their values and their writes take, compressed.
SELECT count(*),
    coalesce(sum(pg_column_size(c.checkpoint) + pg_column_size(c.metadata)), 0)
    + (SELECT coalesce(sum(pg_column_size(blob)), 0) FROM checkpoint_blobs WHERE thread_id = %(thread_id)s)
    + (SELECT coalesce(sum(pg_column_size(blob)), 0) FROM checkpoint_writes WHERE thread_id = %(thread_id)s)
FROM checkpoints c WHERE c.thread_id = %(thread_id)s;

-- name: size_of_channels
-- The channels of a thread's newest root checkpoint, the largest first, with the bytes of their encoded values.
WITH newest AS MATERIALIZED (
    SELECT checkpoint FROM checkpoints WHERE thread_id = %(thread_id)s AND checkpoint_ns = ''
    ORDER BY checkpoint_id DESC LIMIT 1
)
SELECT b.channel AS name, octet_length(b.blob) AS bytes
FROM newest CROSS JOIN LATERAL jsonb_each_text(newest.checkpoint -> 'channel_versions') AS v (channel, version)
JOIN checkpoint_blobs b ON b.thread_id = %(thread_id)s AND b.checkpoint_ns = '' AND b.channel = v.channel
    AND b.version = v.version AND b.blob IS NOT NULL AND b.type <> 'empty'
UNION ALL
SELECT v.key, octet_length(v.value::text)
FROM newest CROSS JOIN LATERAL jsonb_each(newest.checkpoint -> 'channel_values') AS v
WHERE NOT EXISTS (
    SELECT FROM checkpoint_blobs b
    WHERE b.thread_id = %(thread_id)s AND b.checkpoint_ns = '' AND b.channel = v.key
      AND b.version = newest.checkpoint -> 'channel_versions' ->> v.key AND b.type <> 'empty')
ORDER BY bytes DESC, name;
