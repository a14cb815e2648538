-- Search by meaning: upstream's table store_vectors, which exists only where an index is configured, and needs
-- the extension vector. Words in braces are constants that persistence/store/index.py knows: never a value.

-- name: store_put_indexed
-- As store_put, with the vectors of the items. Those that an item had before and has no longer are deleted.
WITH fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running'
    FOR KEY SHARE
), held AS MATERIALIZED (
    SELECT true FROM fence UNION ALL SELECT true WHERE %(run_id)s::uuid IS NULL
), clock AS MATERIALIZED (
    SELECT holdfast_now() AS now
), doomed AS MATERIALIZED (
    SELECT s.prefix, s.key
    FROM held, unnest(%(gone_prefixes)s::text[], %(gone_keys)s::text[]) AS g (prefix, key)
    JOIN store s ON s.prefix = g.prefix AND s.key = g.key
    ORDER BY s.prefix, s.key
    FOR UPDATE OF s
), gone AS (
    DELETE FROM store s USING doomed WHERE s.prefix = doomed.prefix AND s.key = doomed.key
), stored AS (
    INSERT INTO store (prefix, key, value, created_at, updated_at, expires_at, ttl_minutes)
    SELECT p.prefix, p.key, p.value::jsonb, clock.now, clock.now, clock.now + p.minutes * interval '1 minute',
           p.minutes
    FROM held, clock, unnest(%(prefixes)s::text[], %(keys)s::text[], %(values)s::text[], %(minutes)s::float8[])
        AS p (prefix, key, value, minutes)
    ORDER BY p.prefix, p.key
    ON CONFLICT (prefix, key) DO UPDATE
    SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at, expires_at = EXCLUDED.expires_at,
        ttl_minutes = EXCLUDED.ttl_minutes
), vectors AS MATERIALIZED (
    SELECT v.prefix, v.key, v.field_name, v.embedding
    FROM unnest(%(v_prefixes)s::text[], %(v_keys)s::text[], %(v_fields)s::text[], %(v_embeddings)s::text[])
        AS v (prefix, key, field_name, embedding)
), faded AS (
    DELETE FROM store_vectors old USING held, unnest(%(prefixes)s::text[], %(keys)s::text[]) AS p (prefix, key)
    WHERE old.prefix = p.prefix AND old.key = p.key
      AND NOT EXISTS (SELECT FROM vectors v WHERE v.prefix = old.prefix AND v.key = old.key
                      AND v.field_name = old.field_name)
), indexed AS (
    INSERT INTO store_vectors (prefix, key, field_name, embedding, created_at, updated_at)
    SELECT v.prefix, v.key, v.field_name, v.embedding::real[]::{type}, clock.now, clock.now
    FROM held, clock, vectors v
    ORDER BY v.prefix, v.key, v.field_name
    ON CONFLICT (prefix, key, field_name) DO UPDATE
    SET embedding = EXCLUDED.embedding, updated_at = EXCLUDED.updated_at
)
SELECT count(*) FROM held;

-- name: store_search_similar
-- As store_search, the nearest first, with their scores. Of an item's vectors the nearest counts; as several of
-- one item may be near, more vectors are looked at (nearest) than items are wanted. An index that is asked goes on
-- until it has found as many as meet the conditions ({tuning}).
WITH tuned AS MATERIALIZED (
    SELECT {tuning} AS done
), clock AS MATERIALIZED (
    SELECT holdfast_now() AS now
), questions AS MATERIALIZED (
    SELECT q.*, q.equal::jsonb AS contained, q.conditions::jsonb AS met, q.embedding::real[]::{type} AS target
    FROM tuned, unnest(%(paths)s::text[], %(equal)s::text[], %(conditions)s::text[], %(limits)s::bigint[],
                       %(offsets)s::bigint[], %(refresh)s::boolean[], %(nearest)s::bigint[], %(embeddings)s::text[])
        WITH ORDINALITY AS q (path, equal, conditions, most, skipped, refresh, nearest, embedding, position)
    WHERE tuned.done IS NOT NULL
), asked AS MATERIALIZED (
    SELECT q.position, q.refresh, found.*
    FROM questions q
    CROSS JOIN LATERAL (
        SELECT best.* FROM (
            SELECT DISTINCT ON (near.prefix, near.key) near.* FROM (
                SELECT s.*, v.embedding {operator} q.target AS distance
                FROM store s JOIN store_vectors v ON v.prefix = s.prefix AND v.key = s.key
                WHERE {scope}
                  AND (NOT %(omit_expired)s::boolean OR s.expires_at IS NULL
                       OR s.expires_at > (SELECT now FROM clock))
                  AND (jsonb_typeof(s.value -> 'holdfast_sealed') = 'string' AND s.value - 'holdfast_sealed' = jsonb_build_object()
                       OR s.value @> q.contained
                       AND NOT EXISTS (
                           SELECT FROM jsonb_array_elements(q.met) AS c
                           WHERE NOT coalesce(CASE c ->> 1
                               WHEN '$eq' THEN s.value -> (c ->> 0) = c -> 2
                               WHEN '$ne' THEN s.value -> (c ->> 0) <> c -> 2
                               ELSE jsonb_typeof(s.value -> (c ->> 0)) = jsonb_typeof(c -> 2) AND CASE c ->> 1
                                   WHEN '$gt' THEN s.value -> (c ->> 0) > c -> 2
                                   WHEN '$gte' THEN s.value -> (c ->> 0) >= c -> 2
                                   WHEN '$lt' THEN s.value -> (c ->> 0) < c -> 2
                                   WHEN '$lte' THEN s.value -> (c ->> 0) <= c -> 2 END END, false)))
                ORDER BY v.embedding {operator} q.target
                LIMIT q.nearest
            ) near
            ORDER BY near.prefix, near.key, near.distance
        ) best
        ORDER BY best.distance, best.prefix, best.key
        LIMIT q.most OFFSET q.skipped
    ) found
), due AS MATERIALIZED (
    SELECT DISTINCT prefix, key FROM asked WHERE refresh AND ttl_minutes IS NOT NULL
), fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running' AND EXISTS (SELECT FROM due)
    FOR KEY SHARE
), locked AS MATERIALIZED (
    SELECT s.prefix, s.key FROM due JOIN store s ON s.prefix = due.prefix AND s.key = due.key
    WHERE %(run_id)s::uuid IS NULL OR EXISTS (SELECT FROM fence)
    ORDER BY s.prefix, s.key
    FOR NO KEY UPDATE OF s SKIP LOCKED
), refreshed AS (
    UPDATE store s SET expires_at = greatest(s.expires_at, clock.now + s.ttl_minutes * interval '1 minute')
    FROM locked, clock WHERE s.prefix = locked.prefix AND s.key = locked.key
)
SELECT position, prefix, key, value::text, created_at, updated_at, {score} FROM asked
ORDER BY position, distance, prefix, key;

-- name: store_below_a_path
-- The scope of a search in which each question names a namespace.
(s.prefix = q.path OR (s.prefix ~>=~ (q.path || '.') AND s.prefix ~<~ (q.path || '/')));

-- name: store_anywhere
-- The scope of a search in which a question may be about all namespaces.
(q.path = '' OR s.prefix = q.path OR (s.prefix ~>=~ (q.path || '.') AND s.prefix ~<~ (q.path || '/')));

-- name: vectors_lock
-- One process at a time makes the tables; held to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('holdfast store_vectors', 0));

-- name: vectors_extension
-- Upstream's first migration (0). Needs CREATE on the database (vector is a trusted extension), or a superuser
-- where it is not marked as trusted.
CREATE EXTENSION IF NOT EXISTS vector;

-- name: vectors_record
-- Where upstream's setup() looks for what has been done.
CREATE TABLE IF NOT EXISTS vector_migrations (v integer PRIMARY KEY);

-- name: vectors_table
-- Upstream's second migration (1).
CREATE TABLE IF NOT EXISTS store_vectors (
    prefix text NOT NULL,
    key text NOT NULL,
    field_name text NOT NULL,
    embedding {type}({dims}),
    created_at timestamptz DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamptz DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (prefix, key, field_name),
    FOREIGN KEY (prefix, key) REFERENCES store (prefix, key) ON DELETE CASCADE
);

-- name: vectors_index
-- Upstream's third migration (2), which a flat index does without.
CREATE INDEX {concurrently} IF NOT EXISTS store_vectors_embedding_idx ON store_vectors
    USING {method} (embedding {operators}) {options};

-- name: vectors_note
-- Notes the migration of that number as done.
INSERT INTO vector_migrations (v) VALUES ({version}) ON CONFLICT DO NOTHING;
